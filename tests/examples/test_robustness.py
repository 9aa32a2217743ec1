"""Jacobian regularisation and curvature on digits: the claim holds with a margin. The margins stand beside what a run gave (torch 2.13, CPU, one thread)."""

import runpy
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.study  # minutes on a busy machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "robustness.py"


def test_robustness(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        picture = tmp_path / "picture.png"
        figures = runpy.run_path(str(EXAMPLE))["main"](picture)
    finally:
        torch.set_num_threads(threads)
    plain, norm, jacobian, curvature, trained = figures.values()
    assert min(found["noise"][0] for found in figures.values()) > 0.92  # clean: 0.963; 0.980, 0.965, 0.947, 0.977
    assert all(found["noise"][4] > plain["noise"][4] + 0.03 for found in (norm, jacobian, curvature, trained))  # σ = 0.4: 0.735; 0.807, 0.825, 0.804, 0.811
    assert jacobian["worse"][2] > plain["worse"][2] + 0.12  # ε = 0.10: 0.506 to 0.734
    assert jacobian["worse"][3] > plain["worse"][3] + 0.2  # ε = 0.15: 0.140 to 0.463
    assert curvature["worse"][3] > plain["worse"][3] + 0.3  # 0.566, near adversarial training's
    assert trained["worse"][3] > plain["worse"][3] + 0.3  # 0.570
    assert norm["worse"][3] < jacobian["worse"][3]  # 0.331: the loss's own gradient fades where the loss is small already
    assert all(worse <= own for found in figures.values() for own, worse in zip(found["own"], found["worse"], strict=True))
    assert picture.stat().st_size > 0
