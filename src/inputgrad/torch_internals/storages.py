"""The memory that a tensor lies in, and references that do not keep it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from inputgrad.torch_internals.required import Required

_STORAGE = Required("torch.multiprocessing.reductions.StorageWeakRef", "engine DoubleBackward(recompute=...)", "Use engine='double_backward'")
_WEAK = Required("torch.utils.weak.TensorWeakRef", "engine DoubleBackward(recompute=...)", "Use engine='double_backward'")


def address(tensor: Tensor) -> int:
    """What tells its memory from that of others while a reference of `weak_storage` is kept. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _STORAGE:
        return tensor.untyped_storage()._cdata


def weak_storage(tensor: Tensor) -> Any:
    """A reference to its memory that does not keep it; ``expired()`` tells. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _STORAGE:
        from torch.multiprocessing.reductions import StorageWeakRef
    return StorageWeakRef(tensor.untyped_storage())


def weak_tensor(tensor: Tensor) -> Callable[[], Tensor | None]:
    """A reference that gives the tensor while it lives. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _WEAK:
        from torch.utils.weak import TensorWeakRef
    return TensorWeakRef(tensor)
