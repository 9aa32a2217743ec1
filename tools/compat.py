"""``make compat TORCH=2.15.0 [PYTHON=python3.12]``: the core's tests on another torch or another Python, in an environment of its own.

The counts go into docs/versions.json, and from there into the tables of docs/versions.md. The environments stay under build/compat, some 5 GB each.
"""

import argparse
import datetime
import platform
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from tools import versions
from tools.environments import BUILD, Environment, pins

FOLDERS = ("core", "derivatives", "differences", "rescue", "joint", "internals", "taylor", "verification", "catalogue", "survey", "opdb")
"""The tests of terms, engines, operators and torch's internals: those that need no package of an integration or of the command."""
CORE = tuple(f"tests/{folder}" for folder in FOLDERS)
PACKAGES = ("expecttest", "hypothesis", "numpy", "pytest", "pytest-xdist")


def environment(torch: str) -> Environment:
    """An environment with this torch, the project as it stands here, and what its core's tests need."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    made = Environment(BUILD / "compat" / f"torch-{torch}-python-{python}", pins(*PACKAGES))
    made.install(f"torch=={torch}", *PACKAGES)
    made.install("--no-deps", "--editable", ".")
    return made


def counted(report: Path) -> dict[str, Any]:
    """How many tests passed, failed and were skipped by pytest's own report, and the names of those that failed."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failures = {_name(case) for case in cases if case.find("failure") is not None or case.find("error") is not None}
    skipped = {_name(case) for case in cases if case.find("skipped") is not None} - failures
    passed = {_name(case) for case in cases} - failures - skipped
    return {"passed": len(passed), "failed": len(failures), "skipped": len(skipped), "failures": sorted(failures)}


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make compat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", required=True, help="a release, such as 2.15.0")
    parser.add_argument("--processes", default="2", help="how many processes share the tests, one thread each")
    asked = parser.parse_args()
    made = environment(asked.torch)
    report = made.bin.parent / "report.xml"
    report.unlink(missing_ok=True)
    shared = ("--numprocesses", asked.processes, "--dist", "loadfile")
    done = made.run("python", "-m", "pytest", *CORE, *shared, "-p", "no:cacheprovider", f"--junitxml={report}", check=False, OMP_NUM_THREADS="1")
    if done.returncode not in (0, 1):
        sys.exit(f"make compat: pytest ended with exit status {done.returncode}; nothing was recorded")
    version = made.output("python", "-c", "import torch; print(torch.__version__)", cwd=BUILD).strip()
    run = {"torch": version, "python": platform.python_version(), "date": datetime.datetime.now(datetime.UTC).date().isoformat(), **counted(report)}
    versions.write(versions.entered(versions.read(), run))
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
