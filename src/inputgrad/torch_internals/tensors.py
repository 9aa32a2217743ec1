"""Operations on several tensors at once, and what a tensor keeps in private."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from inputgrad.torch_internals.required import Required


def scaled(tensors: Sequence[Tensor], factor: float) -> Sequence[Tensor]:
    """Each of them times the factor, by one kernel where torch has it. Read in torch 2.6 to 2.15. Missing: one after the other."""
    if not tensors:
        return []
    at_once = getattr(torch, "_foreach_mul", None)
    return at_once(list(tensors), factor) if at_once else [tensor * factor for tensor in tensors]


def largest_magnitudes(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """The largest absolute value of each, 0-d; NaN where it has one. Read in torch 2.6 to 2.15. Missing: one after the other."""
    if not tensors:
        return []
    at_once = getattr(torch, "_foreach_norm", None)
    return at_once(list(tensors), float("inf")) if at_once else [torch.linalg.vector_norm(tensor, float("inf")) for tensor in tensors]


def stored_values(tensor: Tensor) -> Tensor:
    """The numbers that a sparse tensor (COO) stores, duplicates apart. Read in torch 2.6 to 2.15. Missing: duplicates are added up."""
    return tensor._values() if hasattr(tensor, "_values") else tensor.coalesce().values()


def times_written(tensor: Tensor) -> int:
    """How often it was written in place. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    try:
        return tensor._version
    except AttributeError:
        with _VERSION:
            raise


def is_at_hand(tensor: Tensor) -> bool:
    """Whether a number of it can be looked at without waiting for a device. Read in torch 2.6 to 2.15."""
    return tensor.device.type == "cpu"


Kind = TypeVar("Kind", bound=Tensor)


def without_storage(kind: type[Kind], like: Tensor) -> Kind:
    """A tensor of a subclass, of the shape and type of another, that holds no numbers of its own and so cannot be computed with unseen.

    Read in torch 2.6 to 2.15. Missing: `MissingInternalError`.
    """
    with _WRAPPER:
        return Tensor._make_wrapper_subclass(kind, like.shape, dtype=like.dtype, device=like.device, requires_grad=True)


_WRAPPER = Required("torch.Tensor._make_wrapper_subclass", "Taylor arithmetic")
_VERSION = Required("torch.Tensor._version", "telling whether a model writes in place on its inputs")
