"""A run of the training command, read back: its config, its data, its trained model."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from inputgrad.study import checkpoint
from inputgrad.study.assembly import Assembly, assemble
from inputgrad.study.checking import check
from inputgrad.study.config import Config
from inputgrad.study.problems import StudyError
from inputgrad.study.rundir import RunDirectory
from inputgrad.study.source import Source


def load_model(run: str | Path, *, code: bool = True) -> nn.Module:
    """The trained model of a run, in evaluation mode."""
    return load_run(run, code=code).model.eval()


def load_run(run: str | Path, *, code: bool = True) -> Assembly:
    """All parts of a run, the model as its last whole epoch left it. run: the run's directory, or its ``checkpoint.pt``; code: whether its settings
    may name code, which is imported. Raises `StudyError`."""
    path = Path(run)
    directory = RunDirectory(path.parent if path.is_file() else path)
    if not directory.checkpoint.exists() or not directory.settings.exists():
        raise StudyError(f"{run}: no run of inputgrad train, which holds settings.json and checkpoint.pt; give the directory of one, such as runs/NAME")
    config = _config(directory, code=code)
    entry: Any = config.data
    assembly = assemble(config, entry.make())
    try:
        assembly.model.load_state_dict(checkpoint.load(directory.checkpoint)["model"])
    except RuntimeError as error:
        raise checkpoint.foreign(directory.checkpoint, str(error).strip().splitlines()[0]) from error
    return assembly


def _config(directory: RunDirectory, *, code: bool) -> Config:
    try:
        settings: dict[str, Any] = dict(json.loads(directory.settings.read_text(encoding="utf-8"))["settings"])
        settings = {"name": directory.path.name, **{name: value for name, value in settings.items() if name not in ("format", "data_content")}}
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise StudyError(f"{directory.settings}: no settings of a run of this command ({type(error).__name__})") from error
    return check(Source(str(directory.settings), settings), code=code)


def saliency(run: str | Path, out: Path | None, samples: int, *, code: bool = True) -> Path:
    """Draw held-out images and their input gradients; returns where."""
    from inputgrad.pictures import saliency as drawn

    assembly = load_run(run, code=code)
    if len(assembly.data.input_shape) != 3:
        raise StudyError(f"{run}: its inputs are not images but {list(assembly.data.input_shape)}; saliency draws images [C, H, W]")
    images, labels = assembly.data.test_inputs[:samples].to(assembly.device), assembly.data.test_labels[:samples].to(assembly.device)
    figure = drawn(assembly.model.eval(), images, labels, of="label" if assembly.data.task == "classification" else "output")
    path = Path(run)
    where = out or (path.parent if path.is_file() else path) / "saliency.png"
    figure.savefig(where)
    return where
