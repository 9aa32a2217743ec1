"""Generative adversarial networks on 8 Gaussians and on digits: what the penalties claim holds. Beside it what a run gave (torch 2.13, CPU, one thread)."""

import runpy
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.study  # minutes on a busy machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "gan.py"


def test_gan(tmp_path: Path) -> None:
    """The example asserts its claim itself: all modes but one with a penalty, three fewer without, an energy distance of less than three tenths."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        picture = tmp_path / "picture.png"
        figures = runpy.run_path(str(EXAMPLE))["main"](picture)
    finally:
        torch.set_num_threads(threads)
    gaussians, digits = figures.values()
    assert gaussians["R1"]["modes"] == gaussians["WGAN-GP"]["modes"] == 8  # and 3 without a penalty, 2 with clipped weights
    assert digits["R1"]["modes"] >= 9  # 10, and 0 without a penalty
    assert digits["WGAN-GP"]["modes"] >= 9  # 10, and 1 with clipped weights
    assert gaussians["R1"]["on_mode"] > 0.3  # 0.45
    assert digits["R1"]["on_mode"] > 0.25  # 0.39
    assert picture.stat().st_size > 0
