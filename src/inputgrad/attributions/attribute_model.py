"""The attributions of a model as it stands, without training. Must not know engines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from inputgrad.attributions.methods import Attribution, check_attribution
from inputgrad.errors import suggesting, warn
from inputgrad.loss import InputGradientLoss
from inputgrad.memory import memory
from inputgrad.passes.model_checks import coupled_modules
from inputgrad.terms.function_term import FunctionTerm
from inputgrad.torch_internals.modules import own_buffers

if TYPE_CHECKING:
    from inputgrad.batch import Batch


@suggesting
def attribute(method: "Attribution | Callable[[Batch], Tensor]", model: Any, inputs: Any, target: Any = None, *, base: Any = None) -> Tensor:
    """The attributions of a model as it stands, ``[N, *input]``, detached: to look at, not to train with.

    method: an attribution such as ``IntegratedGradients()``, or a callable ``batch -> [N, *input]``.
    model: the module. inputs: a tensor, a tuple or a dict. target: what the method's head needs, such as labels.
    base: the base loss, for ``of="loss"`` only.

    The model keeps the mode it is in, and nothing of it changes, not even the running statistics of batch normalisation in training mode. There the samples
    depend on each other: call ``model.eval()`` first.

    >>> from inputgrad.attributions import IntegratedGradients
    >>> model = torch.nn.Linear(3, 2)
    >>> attribute(IntegratedGradients(steps=1, of="label"), model, torch.ones(4, 3), torch.tensor([0, 1, 0, 1])).shape
    torch.Size([4, 3])
    """
    check_attribution("attribute: method", method)
    kept: list[Tensor] = []

    def keep(batch: "Batch") -> Tensor:
        kept.append(method(batch).detach())
        return kept[-1].sum()

    with _told_of_training_mode(model), torch.no_grad(), _buffers_kept(model):
        InputGradientLoss(base, FunctionTerm(keep, per="batch", wrt=getattr(method, "wrt", 0)))(model, inputs, target)
    return kept[-1]


@contextmanager
def _told_of_training_mode(model: Any) -> Iterator[None]:
    """One warning per model, in place of the criterion's own, which speaks to those who train and comes when they do."""
    name, module = next(coupled_modules(model), (None, None)) if isinstance(model, nn.Module) else (None, None)
    if module is None or not module.training:
        yield
        return
    if memory(model).once("evaluated in training mode"):
        warn(
            f"module {name!r} ({type(module).__name__}) is in training mode and couples the samples of a batch by its statistics: each sample's result depends "
            "on the others, and is not that of the model in use. To evaluate, call model.eval() first. The running statistics are left as they were"
        )
    is_first = memory(model).once("coupled samples")
    try:
        yield
    finally:
        if is_first:
            memory(model).warned.discard("coupled samples")


@contextmanager
def _buffers_kept(model: Any) -> Iterator[None]:
    """Buffers as before: a pass in training mode moves the running statistics and counts itself."""
    modules = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    held = [(module, name, buffer, buffer.clone()) for module in modules for name, buffer in module.named_buffers(recurse=False) if not is_lazy(buffer)]
    try:
        yield
    finally:
        for module, name, buffer, before in held:
            own_buffers(module)[name] = buffer
            buffer.copy_(before)
