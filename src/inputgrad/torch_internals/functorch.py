"""Transforms of functions (``torch.func``): whether one is at work."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from inputgrad.torch_internals.required import Required


def is_transforming() -> bool:
    """Whether a transform such as ``torch.func.jvp`` is at work. Read in torch 2.6 to 2.15. Missing: True, and torch's own derivatives are used."""
    try:
        return torch._C._functorch.peek_interpreter_stack() is not None
    except AttributeError:
        return True


def has_dual_level() -> bool:
    """Whether a level of ``torch.autograd.forward_ad`` is open. Read in torch 2.6 to 2.15. Missing: False, and functions are tried that cannot be."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def is_transformed(tensor: Tensor) -> bool:
    """Whether a transform has wrapped it, for a tangent of its own. Read in torch 2.6 to 2.15. Missing: `MissingInternalError`."""
    with _WRAPPED:
        return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


_WRAPPED = Required(
    "torch._C._functorch.is_functorch_wrapped_tensor", "engine 'reverse_over_forward'", "Use engine='double_backward', or engine='finite_difference'"
)
