"""Canaries for what torch says of its operations, and of the memory that tensors lie in."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inputgrad.errors import MissingInternalError
from inputgrad.torch_internals import operations, storages, tracing
from tests.internals.register import canary, missing


class Operations(tracing.TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[func._schema.name.removeprefix("aten::")] = func
        return func(*args, **(kwargs or {}))


@canary("operations.full_name", "operations.is_elementwise", "operations.is_view", "operations.is_pure", "operations.written_arguments")
def test_what_torch_says_of_its_operations() -> None:
    x = torch.randn(3, 3)
    with Operations() as mode:
        torch.bernoulli(x.sigmoid()) + (x @ x).t()
        x.mul_(2)
    seen = mode.seen
    assert operations.full_name(seen["t"]) == "aten::t"
    assert [name for name in seen if operations.is_elementwise(seen[name])] == ["sigmoid", "add", "mul_"]
    assert [name for name in seen if operations.is_view(seen[name])] == ["t"]
    assert [name for name in seen if not operations.is_pure(seen[name])] == ["bernoulli", "mul_"]
    assert operations.written_arguments(seen["mul_"], (x, 2), {})[0] is x
    assert operations.written_arguments(seen["mm"], (x, x), {}) == []


@missing("operations.full_name", "operations.is_elementwise", "operations.is_view", "operations.is_pure", "operations.written_arguments")
def test_operations_that_say_nothing() -> None:
    for question in (operations.full_name, operations.is_elementwise, operations.is_view, operations.is_pure):
        with pytest.raises(MissingInternalError, match=r"DoubleBackward\(recompute"):
            question(SimpleNamespace(_schema=SimpleNamespace()))
    with pytest.raises(MissingInternalError, match=r"DoubleBackward\(recompute"):
        operations.written_arguments(object(), (), {})


@canary("storages.address", "storages.weak_storage", "storages.weak_tensor")
def test_memory_that_is_not_kept() -> None:
    x = torch.randn(3)
    storage, tensor, address = storages.weak_storage(x), storages.weak_tensor(x), storages.address(x)
    assert tensor() is x
    view = x.detach()[1:]
    assert storages.address(view) == address
    del x
    assert tensor() is None
    assert not storage.expired(), "the view holds it"
    del view
    assert storage.expired()
    assert storages.address(torch.randn(3)) != address, "the reference keeps the address from being given away"


@missing("storages.address", "storages.weak_storage", "storages.weak_tensor")
def test_without_references_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("torch.multiprocessing.reductions", "torch.utils.weak"):
        monkeypatch.setitem(sys.modules, module, None)
    for question, given in ((storages.weak_storage, torch.ones(1)), (storages.weak_tensor, torch.ones(1)), (storages.address, object())):
        with pytest.raises(MissingInternalError, match=r"DoubleBackward\(recompute"):
            question(given)
