"""The sharded example, on two processes."""

import re

import pytest

from tests import limits
from tests.scale.spawn import ROOT, torchrun


@pytest.mark.study  # a quarter of a minute; tests/scale has each of its parts
def test_two_processes_train_a_sharded_model() -> None:
    done = torchrun(ROOT, str(ROOT / "examples" / "sharded_training.py"), limit=limits.TRAINING)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = re.findall(r"epoch (\d): held-out accuracy (0\.\d+), mean squared input gradient (\d+\.\d+)", done.stdout)
    assert [int(epoch) for epoch, *_ in lines] == list(range(8))
    assert float(lines[-1][1]) > 0.95  # 0.98
