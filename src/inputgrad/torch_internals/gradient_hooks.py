"""Hooks that the user has put on parameters: whether there are any, and backward passes of the library's own in which they hear nothing.

Autograd reads the hooks from the dicts that tensors hold them in, so emptied dicts silence them.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from inputgrad.torch_internals.required import Required


def has_gradient_hooks(tensor: Tensor) -> bool:
    """Whether hooks of ``register_hook`` are on it. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return bool(_gradient_hooks(tensor))


def has_accumulation_hooks(tensor: Tensor) -> bool:
    """Whether hooks of ``register_post_accumulate_grad_hook`` are on it. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return bool(_accumulation_hooks(tensor))


def are_heard(tensors: Iterable[Tensor]) -> list[bool]:
    """Of each, whether hooks of either kind are on it. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _ON_ACCUMULATION:
        return [bool(first or second) for first, second in map(_BOTH_KINDS, tensors)]


def without_gradient_hooks(tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
    """Around a backward pass that the hooks of ``register_hook`` do not hear. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return _silenced(_gradient_hooks, tensors)


def without_accumulation_hooks(tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
    """The same for ``register_post_accumulate_grad_hook``. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    return _silenced(_accumulation_hooks, tensors)


@contextmanager
def handed_over(tensors: Sequence[Tensor], receive: Callable[[int, Tensor], None], roots: Sequence[Tensor] = ()) -> Iterator[None]:
    """Around ``autograd.grad`` with respect to these tensors: the gradient of each goes to ``receive`` with its number, once it is whole, and is not kept.

    What autograd gives back in its place is a zero of no size. The user's own hooks do not hear of it. roots: what is differentiated; then gradients that a
    custom Function or a hook takes for itself on the way are left to it. Read in torch 2.6 to 2.15. Missing (the number of a pass): those are received too.
    """
    passes: set[int] = set()

    def hook(number: int) -> Callable[[Tensor | None], Tensor | None]:
        def received(gradient: Tensor | None) -> Tensor | None:
            if gradient is None or (passes and _number_of_the_pass() not in passes):  # autograd calls it so where a gradient is undefined
                return None
            receive(number, gradient.detach())
            return gradient.new_zeros(()).expand_as(gradient) if type(gradient) is Tensor and gradient.layout == torch.strided else None

        return received

    with without_gradient_hooks(tensors):
        handles = [root.register_hook(lambda _: passes.add(_number_of_the_pass())) for root in roots if root.requires_grad]
        handles += [tensor.register_hook(hook(number)) for number, tensor in enumerate(tensors)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _number_of_the_pass() -> int:
    """Of the backward pass that runs."""
    try:
        return torch._C._current_graph_task_id()
    except AttributeError:
        return -1


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


_BOTH_KINDS = operator.attrgetter("_backward_hooks", "_post_accumulate_grad_hooks")
_ON_GRADIENTS = Required("torch.Tensor._backward_hooks", "telling whether hooks are on a parameter")
_ON_ACCUMULATION = Required("torch.Tensor._post_accumulate_grad_hooks", "telling whether hooks are on a parameter")
