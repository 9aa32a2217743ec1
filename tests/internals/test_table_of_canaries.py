"""Each function of `inputgrad.torch_internals` has a canary and says in which releases of torch it was read; no other room uses a private part of torch."""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

import inputgrad
from inputgrad import torch_internals
from inputgrad.errors import EngineError, MissingInternalError
from inputgrad.torch_internals.required import READ_IN, Required
from tests.internals import register, test_autograd_and_modes, test_distributed_and_messages, test_models_and_compiler, test_operations_and_memory, test_scripts

TESTS: tuple[ModuleType, ...] = (test_autograd_and_modes, test_distributed_and_messages, test_models_and_compiler, test_operations_and_memory, test_scripts)
"""Their import fills the tables of `register`."""
NO_PART_OF_TORCH = ("required", "draws")
"""Modules whose functions look up nothing private: the error, and draws by public functions."""


def functions() -> dict[str, object]:
    """The public functions and classes of the folder, by ``"module.function"``."""
    modules = [importlib.import_module(f"{torch_internals.__name__}.{found.name}") for found in pkgutil.iter_modules(torch_internals.__path__)]
    named = {
        f"{module.__name__.rpartition('.')[2]}.{name}": value for module in modules for name, value in vars(module).items() if _is_own(module, name, value)
    }
    return {name: value for name, value in named.items() if name.partition(".")[0] not in NO_PART_OF_TORCH}


def _is_own(module: ModuleType, name: str, value: object) -> bool:
    own = getattr(value, "__module__", None) == module.__name__ and (_is_function(value) or inspect.isclass(value))
    return not name.startswith("_") and (own or name == "TorchDispatchMode")


def _is_function(value: object) -> bool:
    """``functools.cache`` hides one."""
    return inspect.isfunction(inspect.unwrap(value)) if callable(value) else False


def test_each_function_has_a_canary_that_exists() -> None:
    assert set(register.CANARIES) == set(functions())
    known = {name for module in TESTS for name in vars(module)}
    assert {test for tests in (*register.CANARIES.values(), *register.MISSING.values()) for test in tests} <= known


def test_what_each_function_does_without_its_part_is_tested() -> None:
    promising = {name for name, value in functions().items() if "Missing" in (inspect.getdoc(value) or "") and _is_function(value)}
    assert promising - set(register.MISSING) == set()
    assert len(promising) > 40


@pytest.mark.parametrize("name", [name for name in functions() if not name.startswith("messages.") and name != "tracing.TorchDispatchMode"])
def test_each_function_says_in_which_releases_it_was_read(name: str) -> None:
    assert f"Read in torch {READ_IN}" in (inspect.getdoc(functions()[name]) or "")


def test_the_error_says_what_is_missing_where_and_what_to_do() -> None:
    with pytest.raises(MissingInternalError) as caught, Required("torch._C._nothing", "engine 'x'", "Use engine='y'"):
        torch._C._nothing  # noqa: B018
    assert str(caught.value) == (
        f"torch {torch.__version__} has no torch._C._nothing, a private part of torch that inputgrad uses: engine 'x' does not work. Use engine='y'"
    )
    assert isinstance(caught.value, EngineError), "so that engine='auto' goes on to the next engine"
    with pytest.raises(KeyError), Required("torch._C._nothing", "engine 'x'"):
        raise KeyError("another error is passed on")


# private parts of torch outside of the folder

ROOT = Path(inputgrad.__file__).parent
APART = ("audit", "study", "report", "integrations", "bench", "cli.py", "torch_internals")
EXCEPTIONS: dict[str, str] = {}
"""``"file: part"`` -> why it is used outside."""

MODULE_FIELDS = {name for name in vars(nn.Module()) if name.startswith("_")}
TORCHS_FIELDS = {name for value in (nn.LSTM(1, 1), torch.ones(1)) for name in (*vars(value), *dir(value)) if name.startswith("_")}
NODE_NAMES = re.compile(r"\w*Backward\d*|(torch::autograd::)?(AccumulateGrad|Error|DelayedError|NotImplemented)")
PRIVATE_MODULE = r"torch\.(_|.*\._|.*experimental)"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_parts(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """What a file takes from torch beyond its public interface.

    own: the private names that the library defines; one that is a field of every ``nn.Module`` too may be torch's on any object but ``self``.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            if ast.unparse(node.value) not in ("self", "cls", "sys") and (node.attr not in own or node.attr in MODULE_FIELDS):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch"):
            parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            if any(is_private(part) or part == "experimental" for part in parts):
                yield ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if re.match(PRIVATE_MODULE, alias.name))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            private_field = re.fullmatch(r"_[A-Za-z]\w*", node.value) and node.value in TORCHS_FIELDS
            if private_field or (NODE_NAMES.fullmatch(node.value) and node.value not in own) or re.match(PRIVATE_MODULE, node.value):
                yield repr(node.value)


def names_defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "object.__setattr__" and isinstance(node.args[1], ast.Constant):
            yield str(node.args[1].value)
        elif isinstance(node, ast.alias):
            yield node.name


def test_no_other_room_uses_a_private_part_of_torch() -> None:
    files = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] not in APART]
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in files}
    own = {name for tree in trees.values() for name in names_defined(tree)}
    used = [f"{name}: {part}" for name, tree in trees.items() for part in private_parts(tree, own)]
    assert [use for use in used if use not in EXCEPTIONS] == []
    assert set(EXCEPTIONS) <= set(used)


@pytest.mark.parametrize(
    "text",
    [
        "torch._C._set_grad_enabled",
        "leaf._backward_hooks",
        "module._parameters['weight']",
        "from torch.utils import _pytree as pytree",
        "from torch.fx.experimental.proxy_tensor import make_fx",
        "import torch._dynamo",
        "import torch.fx.experimental.proxy_tensor",
        "from torch.nn.utils.stateless import _reparametrize_module",
        "getattr(module, '_forward_hooks')",
        "sys.modules['torch._dynamo']",
        "node.name() == 'CheckpointFunctionBackward'",
        "node.name().endswith('AccumulateGrad')",
        "nn.modules.batchnorm._BatchNorm",
    ],
)
def test_the_reader_sees_private_parts(text: str) -> None:
    assert list(private_parts(ast.parse(text), set())) != []


@pytest.mark.parametrize("text", ["self._field", "other._own", "torch.nn.functional.relu", "from torch.utils.checkpoint import checkpoint", "'_text'"])
def test_the_reader_lets_other_things_be(text: str) -> None:
    assert list(private_parts(ast.parse(text), {"_own"})) == []
