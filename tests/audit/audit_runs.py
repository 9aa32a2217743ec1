"""Scripts to audit, and the command on them: in a process of its own, or in this one with all put back."""

import contextlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from inputgrad.audit import command
from inputgrad.report.audit_record import AuditRecord, Place, ReportedFinding
from tests import forked

SCRIPT = """
import sys
import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
inputs, target = torch.randn(8, 3), torch.randn(8, 1)
for step in range(5):
    inputs.requires_grad_(True)
    output = model(inputs)
    output.sum().backward(retain_graph=True)
    g = inputs.grad.clone()
    inputs.grad.zero_()
    loss = (output - target).square().mean() + 0.1 * g.norm(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("step", step, *sys.argv[1:])
print("over")
"""
"""The popular recipe: IG101 at line 12."""
LINE = 12


@dataclass
class Done:
    status: int
    out: str
    err: str


def write(folder: Path, text: str = SCRIPT, name: str = "train.py") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip("\n") if text is not SCRIPT else text.lstrip("\n"))
    return path


def apart(folder: Path, *arguments: str) -> Done:
    """The command as a user runs it."""
    done = subprocess.run([sys.executable, "-m", "inputgrad.cli", "audit", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def in_a_fork(folder: Path, *arguments: str) -> Done:
    """The same in a fork of a process that has torch loaded."""
    done = forked.run(folder, "inputgrad.cli", "audit", *arguments)
    return Done(done.returncode, done.stdout, done.stderr)


class Here:
    """The command in this process; `python` would end after it, so what it leaves behind is put back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], folder: Path) -> None:
        self._patch, self._capture, self._folder = monkeypatch, capfd, folder

    def __call__(self, *arguments: str, script: str = "train.py", own: Sequence[str] = (), module: bool = False, **options: object) -> Done:
        with signal_kept(), self._patch.context() as patch:
            patch.chdir(self._folder)
            patch.setattr(sys, "argv", list(sys.argv))
            patch.setattr(sys, "excepthook", sys.excepthook)
            patch.setattr(sys, "path", list(sys.path))
            patch.setitem(sys.modules, "__main__", sys.modules["__main__"])
            self._capture.readouterr()
            status = command.audit(script, own, command.Options(**options), module=module, at_exit=False)  # type: ignore[arg-type]
        return Done(status, *self._capture.readouterr())


@contextlib.contextmanager
def signal_kept() -> Iterator[None]:
    """What SIGTERM does afterwards is what it did before."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def place(line: int = LINE, code: str = "output.sum().backward(retain_graph=True)", file: str = "train.py") -> Place:
    return Place(file, line, "main", code, f"{file}:{line}", ((line - 1, "before"), (line, code), (line + 1, "after")))


def finding(code: str = "IG101", severity: str = "error", **changes: object) -> ReportedFinding:
    whole: dict = {
        "code": code,
        "name": "gradient without a graph in the loss",
        "severity": severity,
        "place": place(),
        "message": "the input gradient computed here carries no graph (backward without create_graph=True); the loss term made from it changes no parameter.",
        "measured": "‖∂term/∂θ‖ = 0 now, 1.16 with a graph",
        "write": "input_grad, = torch.autograd.grad(output.sum(), input_tensor, create_graph=True)",
        "related": (place(34, "loss = mse + 0.1 * g.norm()"),),
        "times": 3,
    }
    return ReportedFinding(**(whole | changes))


def record(*findings: ReportedFinding, **changes: object) -> AuditRecord:
    whole: dict = {
        "version": "0.1.0",
        "command": ("train.py",),
        "steps": 3,
        "wanted": 3,
        "gradients": 3,
        "ending": "steps",
        "status": 0,
        "raised": "",
        "findings": findings,
    }
    return AuditRecord(**(whole | changes))
