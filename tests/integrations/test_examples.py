"""The integrations' examples run as they stand, and are as short as they are said to be."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import limits

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDED = {"lightning_training": ("lightning",), "transformers_training": ("transformers", "accelerate"), "accelerate_training": ("accelerate",)}
NEEDED["adaptive_weights"] = ()


@pytest.mark.parametrize("name", NEEDED)
def test_an_example_has_40_lines_or_fewer(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 40


@pytest.mark.parametrize("name", NEEDED)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if absent := [package for package in NEEDED[name] if find_spec(package) is None]:
        pytest.skip(f"not installed: {', '.join(absent)}")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(EXAMPLES / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limits.INTEGRATION, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "gradient_norm" in done.stdout or "gradient_match" in done.stdout
