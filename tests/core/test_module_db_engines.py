"""PyTorch's own list of modules on every other engine: served exactly, served approximately, or refused with the reason; none wrong.

Counts of all samples are printed by ``make study``; here one sample in so many is tried. `double_backward` has a file of its own (test_module_db.py).
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import inputgrad as ig
from inputgrad.engines import Compiled
from tests import textbook
from tests.core.test_module_db import ATTENTION, BY_NAME, Result, Sample, by_library, by_textbook, samples, target_of

EXACT, APPROXIMATE, REFUSED, ALIKE = "served exactly", "served approximately", "refused by this engine alone", "refused whoever differentiates"
BEYOND = "served where torch's double backward is not"
HANDED_ON = "handed to an eager engine, exactly"
OUTCOMES = {EXACT, APPROXIMATE, REFUSED, ALIKE, BEYOND, HANDED_ON}

ENGINES: dict[str, tuple[Any, float]] = {
    "reverse_over_forward": ("reverse_over_forward", 0.0),
    "finite_difference": ("finite_difference", 1e-5),
    "compiled": (Compiled(backend="aot_eager"), 0.0),
}
"""Engine -> what the criterion is given, and the error allowed beyond rounding, relative to the term's own gradient; compiled without its compiler."""

ALONE = {
    "reverse_over_forward": dict.fromkeys(ATTENTION - {"nn.MultiheadAttention"}, "_scaled_dot_product_flash_attention"),
    "finite_difference": {},
    "compiled": {},
}
"""Engine -> module -> the operation that its error names: what torch has no derivative of in this direction."""

EVERY = {"reverse_over_forward": 9, "finite_difference": 9, "compiled": 250}


def judged(sample: Sample, engine: str) -> str:
    """One of `OUTCOMES`; fails where the engine is wrong, or refuses for another reason than the known one."""
    expected, target = by_textbook(sample), target_of(sample)
    if expected == "no second derivative" and sample.info.name in ATTENTION:
        with sdpa_kernel(SDPBackend.MATH):
            expected = by_textbook(sample)
    chosen, allowed = ENGINES[engine]
    told, found = _served(sample, target, chosen)
    if found is None:
        if isinstance(expected, str):
            return ALIKE
        assert ALONE[engine][sample.info.name] in told
        return REFUSED
    if isinstance(expected, str):
        assert expected == "no second derivative", f"served, though there is {expected}"
        assert all(part is None or part.isfinite().all() for part in found.gradients.values())
        return BEYOND
    outcome = _compared(found, expected, allowed)
    return HANDED_ON if "cannot serve" in told else outcome


def _served(sample: Sample, target: Tensor, engine: Any) -> tuple[str, Result | None]:
    """What the library warned of or raised, and its result where it gave one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = by_library(sample, target, engine, input_too=not isinstance(engine, Compiled))
        except (ValueError, TypeError, ig.EngineError) as error:
            return str(error), None
    return " ".join(str(item.message) for item in caught), found


def _compared(found: Result, expected: Result, allowed: float) -> str:
    size = textbook.distance(expected.gradients, dict.fromkeys(expected.gradients))
    known = {name: part for name, part in expected.gradients.items() if name in found.gradients}
    off = textbook.distance(found.gradients, known) * textbook.distance(known, dict.fromkeys(known))
    rounding = 3e-9 * size
    term = expected.term if expected.term > 1e-12 * size else size  # a gradient of rounding alone has any direction, and differences their error along it
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-10, atol=1e-12)
    assert off <= rounding + allowed * term, f"off by {off:.1e}; the term's own gradient is {expected.term:.1e}"
    return EXACT if off <= rounding else APPROXIMATE


def tried(every: int) -> Iterator[Sample]:
    """One sample in ``every`` of the whole list, whatever the module."""
    position = 0
    for info in BY_NAME.values():
        for sample in samples(info):
            if position % every == 0:
                yield sample
            position += 1


@cache
def counts(engine: str, every: int) -> tuple[Counter[str], Counter[str]]:
    """How many samples, and how many modules, came out how; a module is served exactly where each of its served samples is."""
    of_samples: Counter[str] = Counter()
    by_module: dict[str, Counter[str]] = {}
    for sample in tried(every):
        outcome = judged(sample, engine)
        of_samples[outcome] += 1
        by_module.setdefault(sample.info.name, Counter())[outcome] += 1
    of_modules = Counter(next((kind for kind in (APPROXIMATE, EXACT, HANDED_ON, BEYOND, REFUSED) if found[kind]), ALIKE) for found in by_module.values())
    return of_samples, of_modules


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("engine", [pytest.param(engine, marks=[pytest.mark.study] if engine == "compiled" else []) for engine in ENGINES])
def test_no_module_is_served_wrongly(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    of_samples, of_modules = counts(engine, EVERY[engine])
    with capsys.disabled():
        print(f"\nmodule_db, {engine}, one sample in {EVERY[engine]}: samples {dict(of_samples)}; modules {dict(of_modules)}")
    assert of_samples.keys() <= OUTCOMES
    assert of_samples[EXACT] > of_samples[REFUSED]


@pytest.mark.study
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("engine", ENGINES)
def test_the_whole_list(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All samples; of the compiled engine, which traces each for a second, one in eight."""
    of_samples, of_modules = counts(engine, 8 if engine == "compiled" else 1)
    with capsys.disabled():
        print(f"\nmodule_db, {engine}: samples {dict(of_samples)}; modules {dict(of_modules)}")
    assert of_modules[EXACT] + of_modules[APPROXIMATE] >= 0.7 * of_modules.total()
