"""``torchrun -m inputgrad train``: as one process does it, and what is left when something goes wrong."""

import errno
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from ruamel.yaml import YAML

from inputgrad.study import checkpoint, command, writing
from inputgrad.study.problems import StudyError
from tests import limits
from tests.scale.spawn import environment, signalled, torchrun

SMALL = {"data": "digits", "model": {"mlp": {"hidden": [8]}}, "batch_size": 500, "threads": 1, "measures": {"epsilons": [], "samples": 2, "steps": 2}}
"""Three steps an epoch, the last of 257 samples: 129 there and 128 here."""
LOSS = "cross_entropy + 0.1*gradient_norm(of=loss)"


def config(folder: Path, **values: Any) -> Path:
    path = folder / "run.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump({**SMALL, **values}, file)
    return path


def together(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return torchrun(folder, "-m", "inputgrad", "train", *arguments, limit=limits.TRAINING)


def alone(path: Path, out: Path, *, overwrite: bool = False) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=200)
    status = command.train([path], [], out, overwrite=overwrite, console=console)
    return status, console.file.getvalue()  # type: ignore[attr-defined]


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> torch.Tensor:
    kept = torch.load(out / "run" / "checkpoint.pt", weights_only=True)["model"]
    return torch.cat([value.flatten() for value in kept.values()])


def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    path = config(tmp_path, loss=LOSS, epochs=2, model="tests.scale.at_the_end:network")
    done = together(tmp_path, "run.yaml", "--out", "two")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("exit function") == 2
    assert "interpreter taken down" not in done.stdout + done.stderr, "gloo's threads abort some processes there"
    assert done.stdout.count("Report: two/report.html") == 1
    assert done.stdout.count("epoch 2/2") == 1
    assert alone(path, tmp_path / "one")[0] == 0
    assert (weights(tmp_path / "two") - weights(tmp_path / "one")).norm() < 1e-5
    assert len(metrics(tmp_path / "two")) == 2
    for there, here in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert there["loss"] == pytest.approx(here["loss"], rel=1e-6)
        assert there["parts"] == pytest.approx(here["parts"], rel=1e-6)


@pytest.mark.study  # likewise, and another run after it
def test_a_killed_process_ends_all_and_another_number_goes_on(tmp_path: Path) -> None:
    """In the middle of the second epoch."""
    settings = {"how": "kill", "step": 5, "on": 1, "unless": str(tmp_path / "repaired")}
    path = config(tmp_path, criterion={"callable": "tests.scale.faulty:criterion", "settings": settings}, epochs=2)
    done = together(tmp_path, "run.yaml", "--out", "out")
    assert done.returncode != 0
    assert re.search("Stopped: another process has ended|Interrupted", done.stdout)  # whichever comes first: the lost connection, or torchrun's SIGTERM
    assert [line["number"] for line in metrics(tmp_path / "out")] == [1]
    assert sorted(file.name for file in (tmp_path / "out" / "run").iterdir()) == [".lock", "checkpoint.pt", "metrics.jsonl", "settings.json"]
    (tmp_path / "repaired").touch()
    status, told = alone(path, tmp_path / "out")
    assert status == 0, told
    assert "goes on after epoch 1, on 1 process(es) after 2" in told
    assert [line["number"] for line in metrics(tmp_path / "out")] == [1, 2]


@pytest.mark.study  # ten seconds, most of them for torchrun to start
def test_a_batch_with_nan_on_one_process(tmp_path: Path) -> None:
    settings = {"how": "nan", "step": 4, "on": 1, "unless": "none"}
    config(tmp_path, criterion={"callable": "tests.scale.faulty:criterion", "settings": settings}, epochs=2)
    done = together(tmp_path, "run.yaml", "--out", "out")
    assert done.returncode != 0
    assert "process 1 of 2: run, epoch 2: inputs[0] has 64 of" in done.stderr
    assert [line["number"] for line in metrics(tmp_path / "out")] == [1]


def test_a_batch_with_nan_alone(tmp_path: Path) -> None:
    settings = {"how": "nan", "step": 4, "on": 0, "unless": "none"}
    from tests.scale import faulty

    faulty._steps = 0
    status, told = alone(config(tmp_path, criterion={"callable": "tests.scale.faulty:criterion", "settings": settings}, epochs=2), tmp_path / "out")
    assert status == 1
    assert "run, epoch 2: inputs[0] has 64 of 32000 values that are NaN or infinite" in told
    assert [line["number"] for line in metrics(tmp_path / "out")] == [1]


@pytest.mark.parametrize("told_by", ["the system", "torch"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told_by: str) -> None:
    """While the second checkpoint is written: half of it is there already."""
    plain, path = torch.save, config(tmp_path, loss=LOSS, epochs=3)
    calls: list[int] = []

    def full(state: Any, beside: Any) -> None:
        plain(state, beside)
        calls.append(beside.tell())
        if len(calls) == 2:
            beside.truncate(1000)
            raise OSError(errno.ENOSPC, "No space left on device") if told_by == "the system" else RuntimeError("PytorchStreamWriter failed writing file")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        status, told = alone(path, tmp_path / "out")
    assert status == 1
    assert "checkpoint.pt could not be written (" in told
    assert "what stood there before is whole" in told
    assert {path.name for path in (tmp_path / "out" / "run").iterdir()} == {".lock", "checkpoint.pt", "metrics.jsonl", "settings.json"}
    assert len(checkpoint.load(tmp_path / "out" / "run" / "checkpoint.pt")["epochs"]) == 1
    status, told = alone(path, tmp_path / "out")
    assert (status, "goes on after epoch 1" in told) == (0, True)


def test_a_broken_checkpoint(tmp_path: Path) -> None:
    """It is named and left alone; --overwrite starts afresh."""
    path = config(tmp_path, loss=LOSS, epochs=1)
    assert alone(path, tmp_path / "out")[0] == 0
    (tmp_path / "out" / "run" / "record.json").unlink()
    kept = tmp_path / "out" / "run" / "checkpoint.pt"
    kept.write_bytes(kept.read_bytes()[:500])
    status, told = alone(path, tmp_path / "out")
    assert status == 1
    assert "checkpoint.pt: no checkpoint of this command" in told
    assert kept.stat().st_size == 500
    assert alone(path, tmp_path / "out", overwrite=True)[0] == 0


def test_another_config_on_resume(tmp_path: Path) -> None:
    assert alone(config(tmp_path, loss=LOSS, epochs=1), tmp_path / "out")[0] == 0
    before = (tmp_path / "out" / "run" / "checkpoint.pt").read_bytes()
    status, told = alone(config(tmp_path, loss=LOSS, epochs=2), tmp_path / "out")
    assert (status, "epochs: 1 -> 2" in told) == (1, True)
    assert (tmp_path / "out" / "run" / "checkpoint.pt").read_bytes() == before


def test_an_end_asked_for_by_a_batch_system(tmp_path: Path) -> None:
    """SIGTERM, as Ctrl-C (tests/study): one message, the exit status of an interruption, the last whole epoch kept."""
    config(tmp_path, loss=LOSS, epochs=100000)
    launch = [sys.executable, "-m", "inputgrad", "train", "run.yaml", "--out", "out"]
    kept = tmp_path / "out" / "run" / "checkpoint.pt"
    status, told = signalled(launch, kept, signal.SIGTERM, cwd=tmp_path, env=environment())
    assert status == 130
    assert "run the same command again to resume." in told
    assert checkpoint.load(kept)["epochs"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("old")
    with pytest.raises(StudyError, match="what stood there before is whole"):
        writing.replaced(path, lambda beside: os.write(-1, b""))
    assert path.read_text() == "old"
