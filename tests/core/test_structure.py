"""Formalities, read from the source: which room imports which, what is public, how long things are, what an import costs."""

import ast
import inspect
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import engines, heads, perturb, places, terms

ROOT = Path(ig.__file__).parent
APART = ("study", "report", "cli.py", "__main__.py", "integrations", "audit", "benchmarks")
"""Rooms outside the core: they may import other packages, and the core may not import them."""
EVERYTHING = sorted(ROOT.rglob("*.py"))
CORE = [path for path in EVERYTHING if path.relative_to(ROOT).parts[0] not in APART]
LINES, BODY = 250, 30
LONGER_MODULES: dict[str, str] = {}
LONGER_BODIES: dict[str, str] = {}


def room(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    """What a file imports when it is loaded or run; names that only the type checker sees are left out."""
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


def reaching(rooms: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    """The imports from files of ``rooms`` that name one of the ``forbidden`` rooms."""
    found = []
    for path in CORE:
        if room(path).startswith(rooms):
            bad = [name for name in imports(path) if name.startswith(tuple(f"inputgrad.{other}" for other in forbidden))]
            found += [f"{room(path)} imports {name}" for name in bad]
    return found


def test_the_core_imports_torch_and_the_standard_library_only() -> None:
    allowed = {"torch", "inputgrad", *sys.stdlib_module_names}
    assert [f"{room(path)}: {name}" for path in CORE for name in imports(path) if name.split(".")[0] not in allowed] == []


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [
        (("terms/",), ("engines", "derivatives", "ledger")),
        (("engines/", "derivatives/"), ("terms", "loss", "ledger", "batch", "recipes")),
        (("derivatives/",), ("engines",)),
        (
            (
                *("heads.py", "places.py", "batch.py", "perturb.py", "base_losses.py", "errors.py", "labels.py", "variables.py", "identity.py", "draws.py"),
                *("sampling.py", "divergences.py", "attacks.py", "carried.py", "saliency_mask.py", "quadrature.py"),
            ),
            ("terms", "engines", "loss", "ledger", "derivatives", "recipes"),
        ),
        (("recipes/",), ("engines", "derivatives", "ledger")),
        (("terms/", "engines/", "derivatives/", "ledger.py"), ("explanation", "findings", "survey", "trials")),
        (("",), ("study", "report", "cli", "integrations", "audit")),
    ],
)
def test_imports_run_one_way(rooms: tuple[str, ...], forbidden: tuple[str, ...]) -> None:
    """Terms may name the loss, inside a function: a base loss plus a term is one (terms/base.py)."""
    assert reaching(rooms, forbidden) == []


def test_the_reader_of_imports_sees_what_there_is_to_see() -> None:
    """The tests above would hold for a reader that sees nothing."""
    assert "inputgrad.engines.base.input_gradient" in set(imports(ROOT / "operators.py"))
    assert reaching(("ledger.py",), ("engines",)) != []


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
                assert documented or method in ("weighted", "get_extra_state", "set_extra_state", "extra_repr", "at_step"), f"{name}.{method}"


@pytest.mark.parametrize("path", EVERYTHING, ids=room)
def test_modules_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no text at the head of the file"
    assert len(text.splitlines()) <= LINES or room(path) in LONGER_MODULES


@pytest.mark.parametrize("path", EVERYTHING, ids=room)
def test_function_bodies_are_short(path: Path) -> None:
    long = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and (body[-1].end_lineno or 0) - body[0].lineno + 1 > BODY:
                long.append(f"{room(path)}:{node.name}")
    assert [name for name in long if name not in LONGER_BODIES] == []


def test_the_lists_of_longer_ones_are_not_stale() -> None:
    assert all(len((ROOT / name).read_text().splitlines()) > LINES for name in LONGER_MODULES)


def test_import_above_torch_is_cheap_and_brings_nothing_along() -> None:
    program = (
        "import sys, time, torch; before = set(sys.modules); start = time.process_time()\n"
        "import inputgrad; inputgrad.InputGradientLoss, inputgrad.GradientNorm; print(time.process_time() - start)\n"  # names come when they are first used
        "[getattr(inputgrad, name) for name in inputgrad.__all__]\n"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, *brought = done.stdout.split()
    assert float(seconds) < 0.3
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


class Springs(nn.Module):
    """An energy of positions ``[N, A, 3]`` and a cell ``[N, 3, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.ones(()))

    def forward(self, positions: Tensor, cell: Tensor) -> Tensor:
        return self.stiffness * (positions.square().sum((1, 2)) + cell.square().sum((1, 2)))


def ordinary(kind: type) -> tuple[nn.Module, Any, Any, Any]:
    """A model, inputs, a target and a base loss that suit a term's example."""
    x, labels = torch.randn(5, 3), torch.arange(5) % 2
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    of_its_own: dict[type, tuple[nn.Module, Any, Any, Any]] = {
        terms.MisclassificationAware: (model, x, labels, None),
        terms.PairwiseCosine: (nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Unflatten(1, (3, 2))), x, labels, None),
        terms.SlicedScoreMatching: (nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), x, None, None),
        terms.StressMatch: (Springs(), {"positions": torch.randn(5, 4, 3), "cell": torch.eye(3).repeat(5, 1, 1)}, {"stress": torch.zeros(5, 3, 3)}, None),
    }
    return of_its_own.get(kind, (model, x, torch.randn(5, 2), "mse"))


def test_every_term_has_an_example_that_runs() -> None:
    classes = [value for name in terms.__all__ if inspect.isclass(value := getattr(terms, name)) and issubclass(value, ig.Term) and value is not ig.Term]
    assert len(classes) >= 25
    for kind in classes:
        model, inputs, target, base = ordinary(kind)
        loss = ig.InputGradientLoss(base, kind.example())(model, inputs, target)
        assert loss.isfinite(), kind
