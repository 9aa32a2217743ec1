"""Version, help and the environment of a bug report, with the packages of the command line and without them."""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import inputgrad
from inputgrad.bench.system import as_text, environment, optional_packages
from inputgrad.cli import app

ROOT = Path(__file__).parents[2]


def without(missing: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process where the package ``missing`` cannot be imported."""
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['inputgrad', *{arguments!r}]\nfrom inputgrad.__main__ import main\nmain()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["train", "-h"], ["audit", "-h"], ["env", "-h"]])
def test_short_and_long_help(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_version_is_that_of_the_package():
    assert CliRunner().invoke(app, ["--version"]).output == f"inputgrad {inputgrad.__version__}\n"


def test_the_version_is_written_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "src/inputgrad/__init__.py"}
    for name in ("CITATION.cff", "docs/conf.py"):
        assert inputgrad.__version__ not in (ROOT / name).read_text(), name


def test_the_environment_as_json_and_as_text():
    facts = json.loads(CliRunner().invoke(app, ["env", "--json"]).output)
    assert facts == json.loads(json.dumps(environment()))
    assert facts["torch"] == torch.__version__
    assert facts["packages"]["typer"] == importlib.metadata.version("typer")
    text = CliRunner().invoke(app, ["env"]).output
    assert text == as_text(facts)
    assert f"torch          {torch.__version__}\n" in text
    assert f"typer {importlib.metadata.version('typer')}" in text


def test_the_environment_names_every_optional_package_for_users():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {requirement.split(">")[0].lower().replace(".", "-") for extra, group in extras.items() if extra not in ("dev", "docs") for requirement in group}
    assert {package.lower().replace(".", "-") for package in optional_packages()} == wanted


def test_the_environment_names_no_folder_and_no_host():
    text = as_text(environment())
    assert str(Path.home()) not in text
    assert str(ROOT) not in text


@pytest.mark.parametrize(
    ("arguments", "told"), [(("-h",), "Usage"), ((), "Usage"), (("--version",), f"inputgrad {inputgrad.__version__}"), (("env",), "torch")]
)
def test_these_need_no_other_package(arguments, told):
    done = without("typer", *arguments)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout


def test_the_other_commands_say_what_to_install():
    done = without("typer", "audit", "train.py")
    assert done.returncode == 2
    assert done.stderr == "inputgrad: the command line needs typer: pip install 'inputgrad[train]', or pip install '.[train]' in a checkout\n"


def test_the_environment_where_torch_cannot_be_imported():
    done = without("torch", "env", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["torch"].startswith("cannot be imported: ModuleNotFoundError")
    assert facts["inputgrad"] == inputgrad.__version__
