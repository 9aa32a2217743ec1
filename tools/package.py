"""``make package``: builds wheel and sdist into dist/, installs each into an empty environment, and runs there what a new user runs first."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from tools.environments import BUILD, ROOT, Environment

HOME = BUILD / "package"
SCRIPT = ROOT / "tests" / "audit" / "corpus" / "bad" / "IG101_popular_norm.py"


def build() -> list[Path]:
    """Wheel and sdist, built by ``python -m build`` in an environment of its own. The wheel is made from the sdist."""
    for old in (ROOT / "dist").glob("inputgrad-*"):
        old.unlink()
    builder = Environment(HOME / "builder")
    builder.install("build")
    builder.run("python", "-m", "build")
    wheel, sdist = (list((ROOT / "dist").glob(f"inputgrad-*{end}")) for end in (".whl", ".tar.gz"))
    if len(wheel) != 1 or len(sdist) != 1:
        raise RuntimeError(f"dist/ must hold one wheel and one sdist, got {wheel + sdist}")
    return wheel + sdist


def tried(package: Path) -> None:
    """Install the package with nothing else, run what needs nothing else; then with the extra of the command line, run that."""
    folder = HOME / ("wheel" if package.suffix == ".whl" else "sdist")
    shutil.rmtree(folder, ignore_errors=True)
    empty = Environment(folder)
    with tempfile.TemporaryDirectory() as elsewhere:
        empty.install(str(package))
        _all_files_are_there(empty, Path(elsewhere))
        _alone(empty, Path(elsewhere))
        empty.install(f"{package}[train]")
        _with_the_command_line(empty, Path(elsewhere))


def _all_files_are_there(empty: Environment, elsewhere: Path) -> None:
    """Pages of the audit, templates of the reports, py.typed: every file of the source is installed."""
    installed = Path(empty.output("python", "-c", "import inputgrad; print(inputgrad.__path__[0])", cwd=elsewhere).strip())
    source = ROOT / "src" / "inputgrad"
    names = [path.relative_to(source) for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    _demand([str(name) for name in names if not (installed / name).is_file()] == [], "every file of the source is installed")


def _alone(empty: Environment, elsewhere: Path) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    _demand(len(snippets) == 2, "the README has the uses of each field and a complete step")
    (elsewhere / "uses.py").write_text(snippets[0], encoding="utf-8")
    empty.output("python", "uses.py", cwd=elsewhere)
    (elsewhere / "snippet.py").write_text(snippets[1], encoding="utf-8")
    _demand(empty.output("python", "snippet.py", cwd=elsewhere).startswith("{'base'"), "the README's snippet runs")
    for flag in ("--help", "-h"):
        _demand("Usage" in empty.output("inputgrad", flag, cwd=elsewhere), f"inputgrad {flag}")
    version = re.search(r'__version__ = "(.*)"', (ROOT / "src" / "inputgrad" / "__init__.py").read_text())
    _demand(version is not None and empty.output("inputgrad", "--version", cwd=elsewhere) == f"inputgrad {version.group(1)}\n", "inputgrad --version")
    _demand("torch" in empty.output("inputgrad", "env", cwd=elsewhere), "inputgrad env")
    _demand(json.loads(empty.output("inputgrad", "env", "--json", cwd=elsewhere))["packages"]["typer"] is None, "inputgrad env --json, without the extras")
    _demand("inputgrad[train]" in empty.output("inputgrad", "audit", "x.py", cwd=elsewhere, status=2, both=True), "inputgrad audit says what to install")


def _with_the_command_line(empty: Environment, elsewhere: Path) -> None:
    _demand("audit" in empty.output("inputgrad", "--help", cwd=elsewhere), "inputgrad --help, with the extra")
    shutil.copy(SCRIPT, elsewhere / "train.py")
    _demand("IG101" in empty.output("inputgrad", "audit", "train.py", cwd=elsewhere, status=1, both=True), "the audit finds what is wrong in a script")
    _demand("<html" in (elsewhere / "audit.html").read_text(encoding="utf-8"), "the audit writes its page")
    _demand("IG101" in empty.output("inputgrad", "audit", "--explain", "IG101", cwd=elsewhere), "the audit explains a rule")
    _demand("trades" in empty.output("inputgrad", "terms", "trades", cwd=elsewhere), "inputgrad terms")


def _demand(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(f"does not hold: {what}")
    print(f"  {what}")


def main() -> None:
    for package in build():
        print(package.name)
        tried(package)


if __name__ == "__main__":
    main()
