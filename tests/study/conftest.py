"""Small runs: a config as values, checked, assembled, or trained in a directory of the test's own."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from inputgrad.study import checking, command
from inputgrad.study.source import Override, Source

SMALL = {"name": "small", "data": "digits", "model": {"mlp": {"hidden": [8]}}, "loss": "cross_entropy", "epochs": 2, "batch_size": 256, "threads": 1}
SMALL_MEASURES = {"epsilons": [], "samples": 2, "steps": 2}


@pytest.fixture
def config_of():
    def made(**values):
        return checking.check(Source("test.yaml", {**SMALL, "measures": SMALL_MEASURES, **values}))

    return made


@pytest.fixture
def trained(tmp_path):
    """Runs the command on values; returns its status and what it printed."""

    def run(*several, out: Path = tmp_path / "out", overwrite: bool = False):
        files = []
        for number, values in enumerate(several):
            merged = {"name": f"run-{number}", **{key: value for key, value in SMALL.items() if key != "name"}, "measures": SMALL_MEASURES, **values}
            if "criterion" in merged:
                merged.pop("loss")
            files.append(_written(tmp_path / f"{merged['name']}.yaml", merged))
        console = Console(file=io.StringIO(), width=200)
        status = command.train(files, [], out, overwrite=overwrite, console=console)
        return status, console.file.getvalue()

    return run


def _written(path: Path, values: dict) -> Path:
    from ruamel.yaml import YAML

    with path.open("w", encoding="utf-8") as file:
        YAML().dump(values, file)
    return path


@pytest.fixture
def problems_of():
    """The problems of a config's text, one string each, with the file's directory left out."""

    def told(text: str, tmp_path: Path, *overrides: Override) -> list[str]:
        from inputgrad.study.problems import ConfigError

        path = tmp_path / "a.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            checking.load_code(checking.checked([path], overrides))
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return told


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks this small are fastest on one thread, above all where the cores have other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
