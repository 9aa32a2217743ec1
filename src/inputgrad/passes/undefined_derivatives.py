"""Where a second derivative is not a number, though value and first derivative are: the module that makes it, found by differentiating each by itself.

Knows neither engines nor terms. Costs a pass of the model and two backward passes a module, and runs only when something is wrong.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import wide
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.gradient_hooks import without_gradient_hooks

_Call = tuple[str, nn.Module, list[Tensor], Tensor]
"""Name, module, the inputs that carry a graph, the first output."""


def undefined_module(forward: ForwardPass) -> tuple[str, nn.Module] | None:
    """The innermost module of the model whose second derivative is NaN where its first is not, with its name; None where there is none."""
    calls: list[_Call] = []
    handles = [module.register_forward_hook(_recorded(name, calls)) for name, module in forward.model.named_modules()]
    try:
        with forward.own_derivatives():
            forward.run({})
    finally:
        for handle in handles:
            handle.remove()
    with without_gradient_hooks(forward.model.parameters()), forward.placement.unnoticed_backward():
        return next(((name, module) for name, module, inputs, output in calls if _is_undefined(module, inputs, output)), None)


def _recorded(name: str, calls: list[_Call]) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        inputs = [given for given in args if isinstance(given, Tensor) and given.requires_grad]
        if isinstance(first, Tensor) and first.requires_grad and first.is_floating_point() and inputs:
            calls.append((name, module, inputs, first))  # inner modules end before those that hold them

    return hook


def _is_undefined(module: nn.Module, inputs: list[Tensor], output: Tensor) -> bool:
    sources = [*inputs, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
    try:
        first = torch.autograd.grad(wide(output).sin().sum(), sources, create_graph=True, allow_unused=True)
        seen = [part for part in first[: len(inputs)] if part is not None and part.requires_grad]
        if not seen or hold_nan(first):
            return False
        return hold_nan(torch.autograd.grad(torch.stack([part.sum() for part in seen]).sum(), sources, allow_unused=True, retain_graph=True))
    except RuntimeError as error:  # what cannot be differentiated twice says so elsewhere
        if messages.is_machine_error(error):
            raise
        return False


def hold_nan(tensors: Iterable[Tensor | None]) -> bool:
    """Whether any number of the tensors is NaN. Infinities are left out: they come of lower precision too."""
    return any(bool(tensor.detach().isnan().any()) for tensor in tensors if tensor is not None)
