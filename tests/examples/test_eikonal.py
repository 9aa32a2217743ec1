"""The example of the signed distance runs, and what it claims holds (the margins stand in the example itself, and again here)."""

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.study  # minutes on a busy machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "eikonal.py"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_eikonal_term_makes_a_distance_of_it(tmp_path: Path) -> None:
    pytest.importorskip("pyvista", reason="the mesh comes with pyvista: pip install pyvista")
    picture = tmp_path / "picture.png"
    figures = runpy.run_path(str(EXAMPLE))["main"](picture)
    without, with_term = figures.values()
    assert with_term["error"] < 0.5 * without["error"]  # 0.036 to 0.007, in a cube of side 2
    assert with_term["error"] < 0.02
    assert with_term["norm"] < 0.5 * without["norm"]  # |‖∇f‖ − 1| 0.225 to 0.044
    assert with_term["side"] > 0.99  # 0.998
    assert with_term["surface"] < 0.006  # 0.0013
    assert picture.stat().st_size > 0
