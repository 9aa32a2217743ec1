"""CONTRIBUTING.md is followed to the letter: its term is added to a copy of the project, and what its lists name exists."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
LISTS = ("Add a term", "Add a recipe", "Add an engine", "Add a derivative", "Add an audit rule", "Work around a quirk of torch")
PLACEHOLDER = re.compile(r"NAME|FAMILY|CODE(_what_is_wrong)?")
PATH = re.compile(r"`([\w.-]+/[\w./-]*|\w+\.(?:md|toml))`")
NAMED = re.compile(r"`(\w+)`\s+in\s+`([\w./-]+\.py)`")


def steps(section: str) -> list[str]:
    """The numbered steps of a list, each with its code."""
    return re.split(r"^\d+\. ", SECTIONS[section], flags=re.MULTILINE)[1:]


def code_of(step: str) -> str:
    (block,) = re.findall(r"^ +```python\n(.*?)^ +```", step, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(block)


# the list for a term, followed


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the three steps were made, and nothing else."""
    copy = tmp_path_factory.mktemp("project")
    for part in ("src", "tests", "docs"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    for page in (ROOT / "pyproject.toml", *ROOT.glob("*.md")):
        shutil.copy(page, copy)
    file, line, row = steps("Add a term")
    written = copy / named(file, "src/inputgrad/terms/")
    assert not written.exists()
    written.write_text(code_of(file), encoding="utf-8")
    stub = copy / named(line, "src/inputgrad/terms/")
    stub.write_text(stub.read_text(encoding="utf-8") + code_of(line), encoding="utf-8")
    table = copy / named(row, "tests/")
    head, opening, rest = table.read_text(encoding="utf-8").partition("TERMS: tuple[Row, ...] = (\n")
    assert opening
    table.write_text(head + opening + textwrap.indent(f"{code_of(row).strip()},\n", "    ") + rest, encoding="utf-8")
    return copy


def named(step: str, folder: str) -> str:
    """The first file of this folder that a step names."""
    return next(path for path in PATH.findall(step) if path.startswith(folder))


def run(project: Path, *arguments: str) -> str:
    """What Python prints there; the copy is imported in place of the installed package."""
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


ON_EVERY_ENGINE = """
import json, pathlib, torch, inputgrad as ig
from torch import nn
from inputgrad.engines import ENGINES, Compiled

def gradient(engine, weight):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 3)).double()
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    criterion = ig.InputGradientLoss(nn.MSELoss(), weight * ig.RobustGradientNorm(of="loss"), engine=engine)
    criterion(model, x, y).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])

chosen = {name: Compiled(backend="aot_eager") if name == "compiled" else kind() for name, kind in ENGINES.items()}
base, exact = gradient("double_backward", 0.0), gradient("double_backward", 1e-3)
errors = {name: ((gradient(engine, 1e-3) - exact).norm() / (exact - base).norm()).item() for name, engine in chosen.items()}
source = pathlib.Path(ig.__file__).parent
print(json.dumps({"errors": errors, "share": ((exact - base).norm() / base.norm()).item(), "source": str(source)}))
"""


def test_the_new_term_works_on_every_engine(project: Path) -> None:
    """Taken of the loss, since `weight_as_step` works with the gradient of the loss alone."""
    told = json.loads(run(project, "-c", ON_EVERY_ENGINE))
    assert told["source"] == str(project / "src" / "inputgrad")
    assert told["share"] > 1e-6, "the term does not pull at the parameters"
    allowed = {"finite_difference": 1e-5, "weight_as_step": 0.05}
    assert {name: error for name, error in told["errors"].items() if not error <= allowed.get(name, 1e-8)} == {}
    assert set(told["errors"]) >= {"auto", "double_backward", "reverse_over_forward", "compiled", *allowed}


def test_the_new_term_is_in_the_list_the_catalogue_the_page_and_the_table(project: Path) -> None:
    pytest.importorskip("typer")  # the command's own
    pytest.importorskip("sphinx")  # which the page's configuration imports
    assert "RobustGradientNorm" in run(project, "-m", "inputgrad", "terms")
    program = """
import runpy, pathlib
from inputgrad import catalogue
from inputgrad.study.registry import TermEntry
from tests.cases import ROWS
assert catalogue.entry("RobustGradientNorm").family == "robust norm"
page = runpy.run_path("docs/conf.py")["with_every_term"](pathlib.Path("docs/catalogue.md").read_text(encoding="utf-8"))
assert ".. autoclass:: inputgrad.RobustGradientNorm" in page
assert TermEntry.model_validate({"robust_gradient_norm": {"scale": 2.0}}).make().term.scale == 2
print(ROWS["robust_norm"].name)
"""
    assert run(project, "-c", program) == "robust_norm\n"


@pytest.mark.study
def test_the_tests_of_the_project_take_in_the_new_term(project: Path) -> None:
    """Structure, catalogue, reference, the term's own example, and its rows of the table."""
    table, reference = "tests/core/test_table.py", "tests/docs/test_docs.py::test_every_public_name_is_in_the_reference"
    others = ("tests/core/test_structure.py", "tests/core/test_lazy.py", "tests/catalogue/test_catalogue.py", "src/inputgrad/terms/robust_norm.py")
    run(project, "-c", "import inputgrad.terms.robust_norm")  # of all modules this one alone is new: it can be imported first
    chosen = "(robust_norm or not test_table) and not imported_first"
    run(project, "-m", "pytest", "-p", "no:cacheprovider", *others, reference, table, "-k", chosen)


def test_the_new_term_is_formatted_as_the_project_is(project: Path) -> None:
    pytest.importorskip("ruff")
    file, line, row = steps("Add a term")
    paths = [named(file, "src/"), named(line, "src/"), named(row, "tests/")]
    run(project, "-m", "ruff", "check", "--no-cache", "--fix", named(line, "src/"))  # the page says so: it sorts the lines
    run(project, "-m", "ruff", "check", "--no-cache", *paths)
    run(project, "-m", "ruff", "format", "--no-cache", "--check", *paths)
    assert code_of(line) in (project / named(line, "src/")).read_text(encoding="utf-8")


# what the lists name


@pytest.mark.parametrize("section", LISTS)
def test_a_list_has_steps_that_name_their_files(section: str) -> None:
    assert len(steps(section)) >= 3
    assert all(PATH.search(step) or "`make " in step for step in steps(section))


@pytest.mark.parametrize("path", sorted(set(PATH.findall(PAGE))))
def test_a_path_exists(path: str) -> None:
    """`NAME`, `FAMILY` and `CODE` stand for what a contributor fills in: others like it exist. The worked example's own file does not."""
    created = {named(step, "src/") for step in steps("Add a term")[:1]}
    assert list(ROOT.glob(PLACEHOLDER.sub("*", path))) or path in created | {"docs/_build/html"}


@pytest.mark.parametrize(("name", "path"), sorted(set(NAMED.findall(PAGE))))
def test_a_name_is_defined_in_its_file(name: str, path: str) -> None:
    assert any(name in defined(file) for file in ROOT.glob(PLACEHOLDER.sub("*", path)))


def defined(file: Path) -> set[str]:
    """The names of a module's own functions, classes and variables."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_the_names_are_found_on_the_page() -> None:
    """The two tests above would hold for a page on which nothing is found."""
    assert {path for _name, path in NAMED.findall(PAGE)} >= {"tests/cases.py", "src/inputgrad/engines/names.py", "tests/derivatives/against_torch.py"}


def test_every_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make ([a-z][\w-]*)", PAGE))
    assert {"setup", "test", "lint", "docs"} <= targets
    assert [target for target in targets if not re.search(rf"^[\w -]*\b{target}\b[\w -]*:", makefile, re.MULTILINE)] == []


def test_every_folder_of_tests_is_in_the_table() -> None:
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"^\| `tests/(\w+)` \|", SECTIONS["Where the tests are"], re.MULTILINE)) == folders
