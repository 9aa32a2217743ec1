"""Canaries for calls from Python into TorchScript, and for the module behind one."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inputgrad.errors import MissingInternalError
from inputgrad.torch_internals import modules, scripts
from tests.internals.register import canary, missing

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")


def double(x: Tensor) -> Tensor:
    return x * 2


CALLABLES: dict[str, Callable[[], Any]] = {
    "scripted function": lambda: torch.jit.script(double),
    "traced function": lambda: torch.jit.trace(double, torch.ones(2)),
    "scripted module": lambda: torch.jit.script(nn.Linear(2, 2)),
    "traced module": lambda: torch.jit.trace(nn.Linear(2, 2), torch.ones(2)),
    "part of a model": lambda: nn.Sequential(torch.jit.script(nn.Linear(2, 2)), nn.Flatten(0)),
}


@canary("scripts.scripted_calls")
@pytest.mark.parametrize("kind", CALLABLES)
def test_each_call_goes_through(kind: str) -> None:
    called, x, seen = CALLABLES[kind](), torch.ones(2), []

    def through(script: Any, call: Any, args: Any, kwargs: Any) -> Any:
        seen.append((script.name, len(args)))
        return call(*args, **kwargs) + 1

    expected = called(x)
    with scripts.scripted_calls(through):
        torch.testing.assert_close(called(x), expected + 1)
    assert seen == [("double" if "function" in kind else "forward", 1)]
    torch.testing.assert_close(called(x), expected)
    assert len(seen) == 1, "after the run nothing goes through"


@canary("scripts.scripted_calls")
def test_a_call_goes_through_the_innermost_first_and_other_threads_are_left_alone() -> None:
    called, x, order = torch.jit.script(double), torch.ones(2), []

    def noting(name: str) -> scripts.Through:
        def through(script: Any, call: Any, args: Any, kwargs: Any) -> Any:
            order.append(name)
            return script(*args, **kwargs)

        return through

    with scripts.scripted_calls(noting("outer")), scripts.scripted_calls(noting("inner")):
        assert called(x).tolist() == [2, 2]
        assert order == ["inner", "outer"], "what one calls itself goes on to the next"
        thread = threading.Thread(target=lambda: order.append(called(x).tolist()))
        thread.start()
        thread.join()
        assert order == ["inner", "outer", [2, 2]]


@missing("scripts.scripted_calls")
def test_without_the_classes_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "torch", SimpleNamespace(_C=object()))
    with pytest.raises(MissingInternalError, match=r"ScriptFunction and torch\._C\.ScriptMethod"), scripts.scripted_calls(lambda *_: None):
        pass


@canary("modules.scripted_module_of")
@pytest.mark.parametrize("make", [torch.jit.script, lambda module: torch.jit.trace(module, torch.ones(2))], ids=["script", "trace"])
def test_the_module_whose_method_is_called_is_known(make: Any) -> None:
    first, second, apart = (make(nn.Linear(2, 2)) for _ in range(3))
    model, owners = nn.Sequential(first, nn.ReLU(), nn.ModuleDict({"second": second})["second"]), []

    def through(script: Any, call: Any, args: Any, kwargs: Any) -> Any:
        owners.append(modules.scripted_module_of(script, model))
        return call(*args, **kwargs)

    with scripts.scripted_calls(through):
        model(torch.ones(2))
        apart(torch.ones(2))
    assert [owner is expected for owner, expected in zip(owners, (first, second, None), strict=True)] == [True] * 3


@missing("modules.scripted_module_of")
def test_a_method_without_an_owner_gives_one_error() -> None:
    with pytest.raises(MissingInternalError, match=r"ScriptMethod\.owner .*engine='double_backward'"):
        modules.scripted_module_of(object(), torch.jit.script(nn.Linear(2, 2)))
