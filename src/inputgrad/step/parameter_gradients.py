"""The parameter gradient of a loss, without a trace in ``.grad`` and without telling the user's hooks. Must not know terms."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inputgrad.distributed.placement import Placement
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autograd_graph import is_reentrant
from inputgrad.torch_internals.gradient_hooks import without_accumulation_hooks, without_gradient_hooks

Gradients = list[Tensor | None]


def parameter_gradients(loss: Tensor, model: nn.Module, sources: Sequence[Tensor]) -> Gradients:
    """∂loss/∂source of each source, None where it has none. The graph is kept."""
    if not sources or not loss.requires_grad:
        return [None for _ in sources]
    placement = Placement(model)
    if placement.is_fsdp or is_reentrant([loss]):  # whose parameters autograd.grad does not see
        return _by_backward(loss, sources)
    try:
        with without_gradient_hooks(sources), placement.unnoticed_backward():
            return [_whole(part) for part in torch.autograd.grad(loss, list(sources), allow_unused=True, retain_graph=True)]
    except RuntimeError as error:
        if messages.is_machine_error(error) or not messages.CHECKPOINT.is_in(error):
            raise
        return _by_backward(loss, sources)


def _by_backward(loss: Tensor, sources: Sequence[Tensor]) -> Gradients:
    """The same by ``.backward()``, which is all that re-entrant checkpointing and ``fully_shard`` allow; ``.grad`` is put back."""
    kept = [(leaf, leaf.grad) for leaf in sources]
    for leaf, _ in kept:
        leaf.grad = None
    try:
        with without_accumulation_hooks(sources), without_gradient_hooks(sources):
            loss.backward()
        return [_whole(source.grad) for source in sources]
    finally:
        for leaf, gradient in kept:
            leaf.grad = gradient


def _whole(gradient: Tensor | None) -> Tensor | None:
    """Of shares the whole."""
    whole: Tensor | None = gradient.full_tensor() if gradient is not None and hasattr(gradient, "full_tensor") else gradient
    return whole
