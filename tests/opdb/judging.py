"""Each engine's parameter gradient of one case, against the reference: right, approximate, refused, wrong, or a raw error from inside."""

import math
import re
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.opdb.reference import (
    AGREEMENT,
    NO_NUMBER,
    Reference,
    laplacian_by_differences,
    laplacian_value,
    own_laplacian_value,
    penalty,
    reference,
    squared_laplacian,
)
from tests.opdb.wrapped import Case, one_or_all

RIGHT, APPROXIMATE, REFUSED, WRONG, NAN, RAW, NO_REFERENCE = "right", "approximate", "refused", "wrong", "NaN", "raw error", "no reference"
OUTCOMES = (RIGHT, APPROXIMATE, REFUSED, WRONG, NAN, RAW, NO_REFERENCE)
BAD = (WRONG, NAN, RAW)
OTHER_FIRST = "torch's first derivative is not that of the output"
OWN = (ig.EngineError, ValueError, TypeError)
"""What the library raises itself, from its own files; anything else, or from elsewhere, is a raw error."""
ENGINES = ("auto", "double_backward", "reverse_over_forward", "finite_difference")
LAPLACIAN = "laplacian"
EXACT, COARSE, VALUE, DIFFERENCES = 1e-5, 1e-3, 1e-6, 1e-5
"""Misfits up to which a gradient is right, and up to which one of an engine that differences inputs is approximate; how far the value may be off (torch's own
hardsigmoid takes its slope in single precision), and how far a value that differences are taken for."""
SINGLE, SINGLE_COARSE, SINGLE_VALUE = 3e-3, 3e-2, 1e-3
"""The same of models that compute in single precision inside, held against a coarse reference."""

Gradient = tuple[float, list[Tensor | None]]
Tried = Callable[[nn.Module, Any, Any], Gradient]


@dataclass(frozen=True)
class Verdict:
    """What one engine gave. detail: the misfit, or what was raised."""

    outcome: str
    misfit: float = 0.0
    detail: str = ""


@dataclass(frozen=True)
class Judged:
    """What came of one case: a verdict for each engine. no_reference: why there is none, or None; then it is only seen whether a raw error comes."""

    case: Case
    verdicts: Mapping[str, Verdict]
    no_reference: str | None = None


def by_criterion(engine: str, model: nn.Module, inputs: Any, wrt: Any) -> Gradient:
    """Value and parameter gradient of the squared norm of the input gradient."""
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2, wrt=wrt), engine=engine)
    torch.default_generator.manual_seed(1)
    loss = criterion(model, inputs)
    loss.backward()
    return float(loss), [parameter.grad for parameter in model.parameters()]


def by_laplacian(model: nn.Module, inputs: Any, wrt: Any) -> Gradient:
    """Value and parameter gradient of the squared Laplacian: third derivatives."""
    loss = squared_laplacian(model, inputs, wrt)
    if loss.requires_grad:  # else it is 0 whatever the parameters, as of ceil
        loss.backward()
    return float(loss.detach()), [parameter.grad for parameter in model.parameters()]


def judged(case: Case) -> Judged:
    """One case on every engine, each on a fresh model; at absolute values where there is no number otherwise."""
    found = _judged(case, penalty, {engine: partial(by_criterion, engine) for engine in ENGINES})
    return judged(case.made_positive()) if found.no_reference == NO_NUMBER and not case.positive else found


def judged_at_third_order(case: Case) -> Judged:
    """The same of the Laplacian, where there are no engines."""
    case = replace(case, outer=torch.sin)
    found = _judged(case, laplacian_value, {LAPLACIAN: by_laplacian})
    if found.verdicts and (found.no_reference or math.isinf(found.verdicts[LAPLACIAN].misfit)) and _torchs_own_is_wrong(case):
        found = _judged(case, own_laplacian_value, {LAPLACIAN: by_laplacian})
    if any(one.outcome == WRONG for one in found.verdicts.values()) and _first_derivative_is_another(case):
        return Judged(case, {LAPLACIAN: Verdict(NO_REFERENCE)}, OTHER_FIRST)
    return judged_at_third_order(case.made_positive()) if found.no_reference == NO_NUMBER and not case.positive else found


def _first_derivative_is_another(case: Case) -> bool:
    """Whether torch's first derivative is not that of the output, as of a write to places that overlap: then what is differentiated again is not known."""
    model, inputs = case.of_what_counts().model()
    known = reference([*inputs, *model.parameters()], lambda: float(model(*inputs).detach().sum()))
    leaves = [*(x.requires_grad_() for x in inputs), *model.parameters()]
    return isinstance(known, Reference) and known.misfit(torch.autograd.grad(model(*inputs).sum(), leaves, allow_unused=True)) > EXACT


def _torchs_own_is_wrong(case: Case) -> bool:
    """Whether the library's Laplacian is that by differences of first derivatives, and plain torch's is another, or raises: then the former is the value."""
    try:
        model, inputs = case.of_what_counts().model()
        by_differences, own = laplacian_by_differences(model, inputs), own_laplacian_value(model, inputs)
    except Exception:  # then there is no such reference; what the library raised is a verdict already
        return False
    if by_differences is None or not math.isclose(own, by_differences, rel_tol=DIFFERENCES, abs_tol=1e-9):
        return False
    try:
        return not math.isclose(laplacian_value(model, inputs), by_differences, rel_tol=DIFFERENCES, abs_tol=1e-9)
    except RuntimeError:  # plain torch's
        return True


def _judged(case: Case, value: Callable[[nn.Module, Any], float], tried: Mapping[str, Tried]) -> Judged:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            case.model()
        except Exception as error:  # the operation itself, without derivatives
            return Judged(case, {}, f"cannot be run in the model: {type(error).__name__}: {first_words(error)}")
        try:
            case = case.of_what_counts()
            model, inputs = case.model()
            known = reference(list(model.parameters()), partial(value, model, inputs))
        except Exception as error:  # torch's own, without the library
            known = f"{type(error).__name__}: {first_words(error)}"
        return Judged(case, {name: _verdict(case, known, name, one) for name, one in tried.items()}, known if isinstance(known, str) else None)


def _verdict(case: Case, known: Reference | str, name: str, tried: Tried) -> Verdict:
    model, inputs = case.model()
    return verdict(known, name, lambda: tried(model, *one_or_all(inputs)))


def verdict(known: Reference | str, engine: str, tried: Callable[[], Gradient]) -> Verdict:
    """What an engine gives, held against the reference."""
    try:
        value, gradient = tried()
    except Exception as error:  # what else is raised is what this looks for
        file, own = _place(error)
        words = first_words(error) if isinstance(error, ig.EngineError) else f"{type(error).__name__}: {first_words(error)}"
        return Verdict(REFUSED, detail=words) if own and isinstance(error, OWN) else Verdict(RAW, detail=f"{words} ({file})")
    if isinstance(known, str):
        return Verdict(NO_REFERENCE)
    exact, coarse, close = (EXACT, COARSE, VALUE) if known.agreement == AGREEMENT else (SINGLE, SINGLE_COARSE, SINGLE_VALUE)
    if not math.isclose(value, known.value, rel_tol=close, abs_tol=1e-12):
        return Verdict(WRONG, math.inf, f"value {value:.8g}, by plain torch {known.value:.8g}")
    misfit = known.misfit(gradient)
    if math.isinf(misfit):
        return Verdict(NAN, misfit, "no number, without a word")
    may_be_coarse = engine in ("auto", "finite_difference")
    return Verdict(RIGHT if misfit <= exact else APPROXIMATE if may_be_coarse and misfit <= coarse else WRONG, misfit)


def first_words(error: BaseException, count: int = 12) -> str:
    """The beginning of a message, without addresses and numbers."""
    words = re.sub(r"0x[0-9a-f]+", "…", str(error)).split()
    return " ".join(words[:count]) + (" …" if len(words) > count else "")


def _place(error: BaseException) -> tuple[str, bool]:
    """The file that raised, and whether it is the library's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    path = Path(frame.filename)
    return f"{path.parent.name}/{path.name}", Path(ig.__file__).parent in path.parents
