"""Mixed precision on two processes: gradients that are scaled, unscaled and clipped are those of one process, and none comes late.

An overflow skips the step on both.
"""

from typing import Any

import pytest

from tests import limits
from tests.scale.scaled import CHANGING, LAYOUTS, TAKEN
from tests.scale.spawn import spawned

pytestmark = pytest.mark.study  # half a minute on two processes; test_precision.py has one
ERROR = {"float32": {"finite_difference": 2e-3, "one_sided": 2e-2, "weight_as_step": 1e-1}, "float16": {"one_sided": 3e-2, "weight_as_step": 1e-1}}
"""Relative, of the whole gradient; 1e-5 and 1e-2 for the other engines."""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return spawned("tests.scale.scaled", tmp_path_factory.mktemp("scaled"), 2, limit=limits.SCALED)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("engine", TAKEN)
@pytest.mark.parametrize(("dtype", "otherwise"), [("float32", 1e-5), ("float16", 1e-2)])
def test_scaled_unscaled_and_clipped(ranks: list[dict[str, Any]], layout: str, engine: str, dtype: str, otherwise: float) -> None:
    for found in ranks:
        for way in ("by call", "at once"):
            step = found[f"{layout}, {engine}, {dtype}, {way}"]
            assert max(step["norm"], step["gradient"]) < ERROR[dtype].get(engine, otherwise), way
            assert step["moved"]
            assert not step["lowered"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("engine", [engine for engine in TAKEN if engine != "compiled"])
def test_an_overflow_skips_the_step(ranks: list[dict[str, Any]], layout: str, engine: str) -> None:
    for found in ranks:
        step = found[f"{layout}, {engine}, too large"]
        assert step["lowered"]
        assert not step["moved"]


@pytest.mark.parametrize(("engine", "column"), CHANGING)
def test_a_cast_that_two_passes_share_brings_no_gradient_late(ranks: list[dict[str, Any]], engine: str, column: str) -> None:
    """Autocast keeps its cast of a parameter, which belongs to the first pass; fully_shard reduces gradients at the end of the pass that went back."""
    for found in ranks:
        assert found[f"{engine}, {column}"] < 1e-1
