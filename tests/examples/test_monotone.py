"""The example of the monotone constraint runs, and what it claims holds (the margins stand in the example itself, and again here)."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.study  # minutes on a busy machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "monotone.py"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_constraint_takes_the_wrong_signs_away_at_no_cost(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend", reason="the data set comes with mlxtend: pip install mlxtend --no-deps")
    picture = tmp_path / "picture.png"
    figures = runpy.run_path(str(EXAMPLE))["main"](picture)
    plain, *_, both = figures.values()
    assert plain["wrong at cars"] > 0.05  # 0.105
    assert both["wrong at cars"] < 0.005  # 0
    assert both["wrong in the box"] < 0.002  # 0.0001
    assert both["error"] < 1.03 * plain["error"]  # 3.14 to 2.99 miles per gallon
    assert picture.stat().st_size > 0
