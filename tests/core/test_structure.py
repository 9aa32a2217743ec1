"""Formalities, read from the source: which room imports which, what is public, how long things are, what an import costs."""

import ast
import inspect
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad import engines, heads, perturb, places, terms
from tests.core.ordinary import ordinary

ROOT = Path(ig.__file__).parent
EVERYTHING = sorted(ROOT.rglob("*.py"))
LINES, BODY, LOOSE = 250, 30, 14

LAYERS: tuple[tuple[str, ...], ...] = (
    ("torch_internals", "lazy", "errors", "identity", "memory", "devices"),
    ("tensor_refs", "variables", "heads"),
    ("base_losses",),
    ("distributed",),
    ("derivatives",),
    ("passes",),
    ("perturbations",),
    ("places", "perturb"),
    ("batch",),
    ("operators", "attributions"),
    ("tracing",),
    ("engines",),
    ("terms",),
    ("step",),
    ("diagnosis",),
    ("loss",),
    ("recipes", "adaptive"),
    ("catalogue",),
    ("pictures",),
    ("audit", "study", "report", "bench", "integrations", "loading"),
    ("command_help", "cli", "__main__"),
)
"""The rooms from the ground up: a file imports from its own room and from those of the layers below."""
ABOVE = {
    "attributions.attribute_model": "it evaluates a batch by a loss; the methods, which terms import, are in attributions.methods",
}
"""Files that import from a layer above their room's, and why; none of them is part of a circle."""
APART = LAYERS[-3] + LAYERS[-2] + LAYERS[-1]
"""Rooms outside the core: they may import other packages."""


def room(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """The module that a file is, below the package: ``terms.base``; the package itself is the empty name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {dotted(path): path for path in EVERYTHING}
CORE = [path for path in EVERYTHING if dotted(path).split(".")[0] not in APART]


def imports(path: Path) -> Iterator[str]:
    """What a file imports when it is loaded or run, in functions too; names that only the type checker sees are left out."""
    tree = ast.parse(path.read_text())
    unseen = {id(node) for branch in ast.walk(tree) if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch.test) for node in ast.walk(branch)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{room(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> set[str]:
    """The modules of the package that a file imports, or takes a name from."""
    inside = [name.removeprefix("inputgrad").removeprefix(".") for name in imports(path) if name.split(".")[0] == "inputgrad"]
    return {name if name in MODULES else name.rpartition(".")[0] for name in inside} - {dotted(path)}


@cache
def imports_of_all() -> dict[str, set[str]]:
    return {name: imported_modules(path) for name, path in MODULES.items()}


def circles(graph: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """The groups of modules that import each other in a circle (strongly connected components, Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            at = stack.index(name)
            groups.append(set(stack[at:]))
            del stack[at:]

    for name in graph:
        if name not in number:
            visit(name)
    return [group for group in groups if len(group) > 1]


def layer(name: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if name.split(".")[0] in rooms)


def test_the_core_imports_torch_and_the_standard_library_only() -> None:
    allowed = {"torch", "inputgrad", *sys.stdlib_module_names}
    assert [f"{room(path)}: {name}" for path in CORE for name in imports(path) if name.split(".")[0] not in allowed] == []


def test_no_circle_of_imports_functions_included() -> None:
    assert circles(imports_of_all()) == []


def test_the_search_for_circles_finds_one() -> None:
    """The test above would hold for a search that finds nothing, and for a reader that sees nothing."""
    assert circles({"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": []}) == [{"a", "b", "c"}]
    assert circles(imports_of_all() | {"errors": {"loss"}}) != []
    assert "passes.input_gradient" in imports_of_all()["engines.base"]
    assert "tracing.compiled_step" in imports_of_all()["engines.compiled"], "an import inside a function"


def test_every_room_has_its_layer_and_imports_from_below() -> None:
    assert {name.split(".")[0] for name in MODULES if name} == {room for rooms in LAYERS for room in rooms}
    wrong = [f"{name} imports {other}" for name, others in imports_of_all().items() for other in others if name and other and layer(other) > layer(name)]
    assert {line.split()[0] for line in wrong} == set(ABOVE), wrong


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.study)])
def test_modules_can_be_imported_first(every: int) -> None:
    """One in so many, each in a process of its own: what hangs on the order of imports is a circle that no import statement shows."""
    names = ["inputgrad." + name for name, path in MODULES.items() if path in CORE and name and not name.startswith("perturb.")][::every]
    program = """
import importlib, os, sys
import torch

for name in sys.argv[1:]:
    pid = os.fork()
    if not pid:
        try:
            importlib.import_module(name)
        except BaseException as error:
            print(name, error)
            os._exit(1)
        os._exit(0)
    os.waitpid(pid, 0)
"""
    done = subprocess.run([sys.executable, "-c", program, *names], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_a_term_imported_by_itself_adds_to_a_base_loss() -> None:
    program = "from torch import nn; from inputgrad.terms.gradient_norm import GradientNorm; print(type(nn.MSELoss() + 0.1 * GradientNorm()).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "InputGradientLoss"


def test_terms_know_no_engine_and_engines_no_term() -> None:
    """Terms ask their batch; what a base loss plus terms is, the loss registers."""
    assert [
        name
        for name, others in imports_of_all().items()
        if name.startswith("terms.") and any(other.split(".")[0] in ("engines", "step", "loss") for other in others)
    ] == []
    assert [
        name for name, others in imports_of_all().items() if name.startswith("engines") and any(other.split(".")[0] in ("terms", "batch") for other in others)
    ] == []


def test_few_files_stand_loose() -> None:
    """A new file belongs to a room: see docs/architecture.md."""
    loose = [path.name for path in ROOT.glob("*.py") if not path.name.startswith("__")]
    assert len(loose) <= LOOSE, sorted(loose)


@pytest.mark.parametrize("module", [ig, engines, terms], ids=lambda module: module.__name__)
def test_public_names_exist_are_sorted_and_documented(module: ModuleType) -> None:
    names = module.__all__
    assert len(names) == len(set(names))
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in names:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
            assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("module", [ig, heads, places, perturb, terms, engines], ids=lambda module: module.__name__)
def test_every_public_class_says_what_it_is_in_its_own_words(module: ModuleType) -> None:
    """Its own docstring, not the signature that `dataclass` makes up; and on the public surface every method has one, its own or its base's."""
    for name, value in vars(module).items():
        if name.startswith("_") or not inspect.isclass(value) or not value.__module__.startswith("inputgrad"):
            continue
        assert value.__doc__, name
        assert not value.__doc__.startswith(f"{name}("), f"{name}: only the dataclass's own signature"
        for method, function in inspect.getmembers(value, inspect.isfunction) if name in ig.__all__ else ():
            if not method.startswith("_") and function.__module__.startswith("inputgrad") and function.__qualname__.startswith(name):
                documented = inspect.getdoc(getattr(value, method))
                assert documented or method in ("get_extra_state", "set_extra_state", "extra_repr"), f"{name}.{method}"


@pytest.mark.parametrize("path", EVERYTHING, ids=room)
def test_modules_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no text at the head of the file"
    assert len(text.splitlines()) <= LINES


@pytest.mark.parametrize("path", EVERYTHING, ids=room)
def test_function_bodies_are_short(path: Path) -> None:
    long = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 > BODY:
                long.append(f"{room(path)}:{node.name}")
    assert long == []


def test_import_above_torch_is_cheap_and_brings_nothing_along() -> None:
    program = (
        "import sys, torch; before = set(sys.modules)\n"
        "import inputgrad; inputgrad.InputGradientLoss, inputgrad.GradientNorm; print(len(set(sys.modules) - before))\n"  # names come when they are first used
        "[getattr(inputgrad, name) for name in inputgrad.__all__]\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules, *brought = done.stdout.split()
    assert int(modules) < 195  # counted, not timed, so that it holds under load
    assert {name for name in brought if name not in sys.stdlib_module_names} <= {"inputgrad", "torch"}


# warnings


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def warned(call: Any) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return caught


@pytest.mark.parametrize("method", ["__call__", "evaluate", "backward", "losses"])
def test_one_warning_for_batch_norm_in_training_mode_at_the_users_line(method: str) -> None:
    model, x, y, criterion = normed(), torch.randn(5, 3), torch.randn(5, 2), nn.MSELoss() + ig.GradientNorm()

    def three_steps() -> None:
        for _ in range(3):
            getattr(criterion, method)(model, x, y)

    (found,) = warned(three_steps)
    assert "module '1' (BatchNorm1d) couples the samples of a batch" in str(found.message)
    assert "GroupNorm or LayerNorm, or put the module in evaluation mode" in str(found.message)
    assert Path(found.filename) == Path(__file__)


def test_no_warning_without_coupling() -> None:
    x, y, criterion = torch.randn(5, 3), torch.randn(5, 2), nn.MSELoss() + ig.GradientNorm()

    def sound() -> None:
        criterion(normed().eval(), x, y)
        criterion(nn.Sequential(nn.Linear(3, 2), nn.GroupNorm(1, 2)), x, y)
        ig.InputGradientLoss("mse")(normed(), x, y)  # no term, no input gradient

    assert warned(sound) == []


def test_every_term_has_an_example_that_runs() -> None:
    classes = [value for name in terms.__all__ if inspect.isclass(value := getattr(terms, name)) and issubclass(value, ig.Term) and value is not ig.Term]
    assert len(classes) >= 25
    for kind in classes:
        model, inputs, target, base = ordinary(kind)
        loss = ig.InputGradientLoss(base, kind.example())(model, inputs, target)
        assert loss.isfinite(), kind
