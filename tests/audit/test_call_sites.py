"""Where something happened: in the user's own file, also where that stands beside the library and is named like it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import inputgrad
from inputgrad.audit import call_sites

PACKAGE, TORCH = Path(inputgrad.__file__).parent, Path(torch.__file__).parent


def function_in(file: Path, *, calls: str) -> Callable[..., Any]:
    """A function whose code says that it stands in this file, on line 2."""
    names: dict[str, Any] = {"called": None}
    exec(compile(f"def run(called):\n    return {calls}\n", str(file), "exec"), names)
    return names["run"]


@pytest.mark.parametrize("name", ["inputgrad_demo.py", "inputgrad.py", "inputgrad-2/train.py"])
def test_a_file_beside_the_package_is_the_users_own(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_sites, "_PACKAGE", call_sites._below(tmp_path / "inputgrad"))
    site = function_in(tmp_path / name, calls="called()")(call_sites.here)
    assert site == call_sites.Site(str(tmp_path / name), 2, "run")
    assert function_in(tmp_path / "inputgrad" / name, calls="called()")(call_sites.here).file == __file__


@pytest.mark.parametrize("name", ["inputgrad_demo.py", "inputgrad-2/train.py"])
def test_a_file_beside_the_package_is_not_the_library_at_work(name: str) -> None:
    assert not function_in(PACKAGE.parent / name, calls="called()")(call_sites.inside_library)
    assert function_in(PACKAGE / "engines" / "some.py", calls="called()")(call_sites.inside_library)


def test_the_audits_own_files_are_not_the_library_at_work() -> None:
    inner = function_in(PACKAGE / "audit" / "some.py", calls="called()")
    assert not inner(call_sites.inside_library)
    beside = function_in(PACKAGE / "audit_of_mine.py", calls="called()")
    assert beside(call_sites.inside_library)


@pytest.mark.parametrize("file", [PACKAGE / "loss.py", PACKAGE / "audit" / "finding.py", TORCH / "nn" / "some.py", Path("<frozen x>")])
def test_files_of_the_library_and_of_torch_are_passed_over(file: Path) -> None:
    site = function_in(file, calls="called()")(call_sites.here)
    assert site.file == __file__
