"""Hooks that the user has put on parameters: whether there are any, and backward passes of the library's own in which they hear nothing.

Autograd reads the hooks from the dicts that tensors hold them in, so emptied dicts silence them.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor

from inputgrad.torch_internals.required import Required


def has_gradient_hooks(tensor: Tensor) -> bool:
    """Whether hooks of ``register_hook`` are on it. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return bool(_gradient_hooks(tensor))


def has_accumulation_hooks(tensor: Tensor) -> bool:
    """Whether hooks of ``register_post_accumulate_grad_hook`` are on it. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return bool(_accumulation_hooks(tensor))


def without_gradient_hooks(tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
    """Around a backward pass that the hooks of ``register_hook`` do not hear. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return _silenced(_gradient_hooks, tensors)


def without_accumulation_hooks(tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
    """The same for ``register_post_accumulate_grad_hook``. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return _silenced(_accumulation_hooks, tensors)


def _gradient_hooks(tensor: Tensor) -> dict[Any, Any] | None:
    with _ON_GRADIENTS:
        return tensor._backward_hooks


def _accumulation_hooks(tensor: Tensor) -> dict[Any, Any] | None:
    with _ON_ACCUMULATION:
        return tensor._post_accumulate_grad_hooks


@contextmanager
def _silenced(hooks_of: Callable[[Tensor], dict[Any, Any] | None], tensors: Iterable[Tensor]) -> Iterator[None]:
    kept = [(hooks, dict(hooks)) for tensor in tensors if (hooks := hooks_of(tensor))]
    for hooks, _ in kept:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, entries in kept:
            hooks.update(entries)


_ON_GRADIENTS = Required("torch.Tensor._backward_hooks", "telling whether hooks are on a parameter")
_ON_ACCUMULATION = Required("torch.Tensor._post_accumulate_grad_hooks", "telling whether hooks are on a parameter")
