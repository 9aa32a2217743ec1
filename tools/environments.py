"""Environments of their own, apart from the one that runs this.

Needs the standard library only, so that the interpreter to be tested runs it.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"


class Environment:
    """A folder made by ``venv`` with the interpreter that runs this.

    pins: these versions, whatever pip is otherwise told to be content with; none leaves pip's own settings as they are.
    """

    def __init__(self, folder: Path, pins: Sequence[str] = ()) -> None:
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        if not (self.bin / "python").exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        self.variables = {name: value for name, value in os.environ.items() if name not in hidden}
        if pins:
            constraints = folder / "constraints.txt"
            constraints.write_text("".join(f"{pin}\n" for pin in pins))
            self.variables["PIP_CONSTRAINT"] = str(constraints)

    def run(self, command: str, *arguments: str, cwd: Path = ROOT, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command of the environment, its output on the terminal."""
        return subprocess.run([str(self.bin / command), *arguments], cwd=cwd, check=check, env=self.variables | variables, text=True)

    def output(self, command: str, *arguments: str, cwd: Path, status: int = 0, both: bool = False) -> str:
        """What a command prints; ``both`` with what it writes to stderr. Raises `RuntimeError` where its exit status is another one."""
        done = subprocess.run([str(self.bin / command), *arguments], cwd=cwd, env=self.variables, text=True, capture_output=True, check=False)
        if done.returncode != status:
            raise RuntimeError(f"{command} {' '.join(arguments)}: exit status {done.returncode}, expected {status}\n{done.stdout}{done.stderr}")
        return done.stdout + (done.stderr if both else "")

    def install(self, *requirements: str) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", *requirements)


def pins(*packages: str) -> list[str]:
    """The lines of constraints.txt for these packages."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if re.split("[=<>]", line)[0].lower() in packages]
