"""The sharded example, on two processes."""

import re
import subprocess
import sys
from pathlib import Path

from tests.scale.spawn import environment

ROOT = Path(__file__).parents[2]


def test_two_processes_train_a_sharded_model() -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        "localhost:0",
    ]
    done = subprocess.run(
        [*command, str(ROOT / "examples" / "sharded_training.py")], cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = re.findall(r"epoch (\d): held-out accuracy (0\.\d+), mean squared input gradient (\d+\.\d+)", done.stdout)
    assert [int(epoch) for epoch, *_ in lines] == list(range(8))
    assert float(lines[-1][1]) > 0.95  # 0.98
