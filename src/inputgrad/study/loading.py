"""A run of the training command, read back: its config, its data, its trained model."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from inputgrad.study import checkpoint
from inputgrad.study.assembly import Assembly, assemble
from inputgrad.study.config import Config
from inputgrad.study.problems import StudyError
from inputgrad.study.rundir import RunDirectory


def load_model(run: str | Path) -> nn.Module:
    """The trained model of a run, in evaluation mode."""
    return load_run(run).model.eval()


def load_run(run: str | Path) -> Assembly:
    """All parts of a run, the model as its last whole epoch left it. run: the run's directory, or its ``checkpoint.pt``. Raises `StudyError`."""
    path = Path(run)
    directory = RunDirectory(path.parent if path.is_file() else path)
    if not directory.checkpoint.exists() or not directory.settings.exists():
        raise StudyError(f"{run}: no run of inputgrad train, which holds settings.json and checkpoint.pt; give the directory of one, such as runs/NAME")
    settings: dict[str, Any] = json.loads(directory.settings.read_text(encoding="utf-8"))["settings"]
    settings = {name: value for name, value in settings.items() if name not in ("format", "data_content")}
    settings.setdefault("name", directory.path.name)
    config = Config.model_validate(settings)
    entry: Any = config.data
    assembly = assemble(config, entry.make())
    assembly.model.load_state_dict(checkpoint.load(directory.checkpoint)["model"])
    return assembly


def saliency(run: str | Path, out: Path | None, samples: int) -> Path:
    """Draw held-out images and their input gradients; returns where."""
    from inputgrad.pictures import saliency as drawn

    assembly = load_run(run)
    if len(assembly.data.input_shape) != 3:
        raise StudyError(f"{run}: its inputs are no images but {list(assembly.data.input_shape)}; saliency draws images [C, H, W]")
    images, labels = assembly.data.test_inputs[:samples].to(assembly.device), assembly.data.test_labels[:samples].to(assembly.device)
    figure = drawn(assembly.model.eval(), images, labels, of="label" if assembly.data.task == "classification" else "output")
    path = Path(run)
    where = out or (path.parent if path.is_file() else path) / "saliency.png"
    figure.savefig(where)
    return where
