"""Public names: each is written once, in a stub, and imported from there when it is first used."""

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import inputgrad
from inputgrad import lazy

ROOT = Path(inputgrad.__file__).parent
PACKAGES = {".".join(stub.parent.relative_to(ROOT.parent).parts): stub for stub in ROOT.rglob("__init__.pyi")}


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_the_packages_with_a_stub() -> None:
    assert set(PACKAGES) >= {"inputgrad", "inputgrad.terms", "inputgrad.recipes", "inputgrad.attributions"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_stub_lists_each_name_once_and_nothing_that_is_not_read_at_run_time(package: str) -> None:
    *_, last = lines = ast.parse(PACKAGES[package].read_text()).body
    imports = [line for line in lines if isinstance(line, ast.ImportFrom)]
    assert lines == imports or (isinstance(last, ast.AnnAssign) and lines[:-1] == imports)  # only `__version__: str` is not imported
    names = [alias.asname for line in imports for alias in line.names if alias.name != "*"]
    assert len(names) == len(set(names))
    assert all(alias.name in ("*", alias.asname) for line in imports for alias in line.names), "write `from module import name as name`"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there_and_defined_where_the_stub_says(package: str) -> None:
    module = import_module(package)
    assert module.__all__ == list(lazy.homes(package))
    assert set(module.__all__) <= set(dir(module))
    for name, home in lazy.homes(package).items():
        value = getattr(module, name)
        assert vars(module)[name] is value, "looked up once"
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__module__ == home
        else:
            assert inspect.ismodule(value)
            assert value.__name__ == f"{package}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'GradientNrm'"):
        import_module(package).GradientNrm  # noqa: B018


def test_every_public_term_is_in_the_root() -> None:
    """One line in the stub of the terms makes a term public."""
    assert lazy.homes("inputgrad.terms").items() <= lazy.homes("inputgrad").items()


def test_the_import_alone_loads_no_torch_and_reads_no_stub() -> None:
    program = "import sys; before = set(sys.modules); import inputgrad; inputgrad.__version__; print(*set(sys.modules) - before)"
    loaded = python(program).split()
    assert "inputgrad" in loaded
    assert not {"torch", "ast", "pathlib", "typing"} & set(loaded)


def test_a_starred_import_brings_every_public_name() -> None:
    assert python("from inputgrad import *; import inputgrad; print(set(inputgrad.__all__) <= set(globals()))") == "True\n"
