"""What makes a host wait for a device, counted on CPU tensors that stand for a device's."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from inputgrad.torch_internals import pytree, tensors

LOOKS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "unique", "_unique2", "unique_dim", "repeat_interleave"}
"""Kernels whose answer, or its shape, the host waits for."""
MADE_ON_HOST = {"tensor", "new_tensor", "as_tensor"}
"""Functions that copy numbers of the host's to the device, and wait until that is done."""
BROUGHT_TO_HOST = {"tolist", "numpy", "cpu", "__array__"}


class Kernels(TorchDispatchMode):
    """Counts them as they are called, by autograd too."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self._waits = waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in LOOKS and not (name == "repeat_interleave" and "output_size" in (kwargs or {})):
            self._waits[name] += 1
        if name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            isinstance(z, Tensor) and z.dtype in (torch.bool, torch.uint8) for z in pytree.leaves(args[1])
        ):
            self._waits[f"{name} by a mask"] += 1
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    """Counts what is called of Python and reaches no kernel on the CPU."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self._waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in BROUGHT_TO_HOST or (name == "to" and "cpu" in map(str, (*args[1:], *(kwargs or {}).values()))):
            self._waits[name] += 1
        if (name in MADE_ON_HOST and "device" in (kwargs or {})) or name == "new_tensor":
            self._waits[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What would wait inside, by name; the library takes every tensor for one of a device."""
    waits: Counter[str] = Counter()
    with monkeypatch.context() as patch, Kernels(waits), Functions(waits):
        for module in _homes():
            patch.setattr(module, "is_at_hand", lambda _tensor: False)
        yield waits


def _homes() -> list[ModuleType]:
    """The modules that ask whether a number is at hand."""
    loaded = {name: module for name, module in sys.modules.items() if name.startswith("inputgrad.") and name != tensors.__name__}
    found = [module for module in loaded.values() if hasattr(module, "is_at_hand")]
    assert len(found) >= 3
    return found
