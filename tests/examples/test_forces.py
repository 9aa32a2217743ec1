"""The example of energies and forces, and what it claims with a margin. The margins stand beside what a run gave (torch 2.13, CPU, one thread)."""

import runpy
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.study  # minutes on a busy machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "forces.py"


@pytest.mark.filterwarnings("default")  # of ase and tblite
def test_forces(tmp_path: Path) -> None:
    pytest.importorskip("tblite", reason="the data are computed with GFN2-xTB: pip install tblite ase")
    pytest.importorskip("ase", reason="the data are computed with GFN2-xTB: pip install tblite ase")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures = runpy.run_path(str(EXAMPLE))["main"](tmp_path / "picture.png")
    finally:
        torch.set_num_threads(threads)
    assert figures["factor"] > 6  # 14.7: the energy error falls from 132.7 to 9.0 meV at the same 200 structures
    assert figures["factor_to_1600"] > 1.5  # 3.1: 28.4 meV from the energies of eight times as many
    assert figures["drift"] < 0.05  # 0.0075 meV an atom and ps, where an atom's thermal energy is 78 meV
    assert figures["off"] < 30  # 4.0 meV
    assert figures["bonds"] < 0.3 < figures["bonds_by_energies_alone"]  # 0.12 and 990 Å
    assert (tmp_path / "picture.png").stat().st_size > 0
