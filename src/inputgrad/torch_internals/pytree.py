"""Nested containers of tensors: tuples, lists, dicts, and the output objects that libraries have made known to torch."""

from collections.abc import Callable
from typing import Any

from inputgrad.torch_internals.required import Required

_PYTREE = Required("torch.utils._pytree", "looking for tensors in nested containers")


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Its leaves, and its structure, which can be compared and turned to text. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _PYTREE:
        from torch.utils._pytree import tree_flatten
    return tree_flatten(tree)


def unflatten(leaves: list[Any], structure: Any) -> Any:
    """The containers of that structure around these leaves. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _PYTREE:
        from torch.utils._pytree import tree_unflatten
    return tree_unflatten(leaves, structure)


def leaves(tree: Any) -> list[Any]:
    """Its leaves. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _PYTREE:
        from torch.utils._pytree import tree_leaves
    return tree_leaves(tree)


def map_only(kind: type, function: Callable[[Any], Any], tree: Any) -> Any:
    """The same containers with ``function`` applied to the leaves of that kind. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _PYTREE:
        from torch.utils._pytree import tree_map_only
    return tree_map_only(kind, function, tree)
