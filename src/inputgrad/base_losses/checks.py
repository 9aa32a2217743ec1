"""What is checked of a base loss and its target before it is called. Must not know how a base loss is evaluated."""

import inspect
import types
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from inputgrad.torch_internals.modules import is_loss
from inputgrad.variables import described

_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss, nn.BCELoss, nn.BCEWithLogitsLoss, nn.KLDivLoss, nn.PoissonNLLLoss, nn.SoftMarginLoss)
_ELEMENTWISE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss, F.binary_cross_entropy, F.binary_cross_entropy_with_logits, F.kl_div)


def check_is_no_recipe(base: Any) -> None:
    """Raises `TypeError` for a function of the library that is no loss, such as a recipe that was not called."""
    home = getattr(base, "__module__", None) or ""
    if not (isinstance(base, types.FunctionType) and home.startswith("inputgrad.") and hasattr(base, "__wrapped__")):
        return
    if list(inspect.signature(base).parameters)[:2] == ["output", "target"]:  # a base loss, such as relativistic_pairing
        return
    if home.startswith("inputgrad.recipes."):
        raise TypeError(
            f"{base.__name__} is a recipe that was not called: write ig.recipes.{base.__name__}(...) with its brackets, as in nn.MSELoss() + recipe(...)"
        )
    raise TypeError(f"base is the function {base.__name__} of this library, which is no loss of (output, target)")


def check_weight_name(weights: Any) -> None:
    """Raises `TypeError` for weights of a base loss that name no part of the target."""
    if isinstance(weights, bool) or not isinstance(weights, (str, int)):
        raise TypeError(
            "OnTarget.sample_weight takes the name, or the position, of the part of the target that holds one weight per sample; got "
            f"{described(weights)}. Put the weights into the target, such as {{'y': y, 'w': weights}}, and write .sample_weight('w')"
        )


def check_target(base: Any, output: Any, target: Any) -> None:
    """Raises for a target that a base loss of torch does not take, or would broadcast."""
    if not isinstance(output, Tensor) or (isinstance(target, Tensor) and target.dim() and target.shape == output.shape):
        return
    if not isinstance(target, Tensor):
        if target is None and is_of_torch(base):
            raise ValueError(f"the base loss {name_of(base)} needs a target: call criterion(model, inputs, target)")
        if (isinstance(target, (dict, tuple, list)) or hasattr(target, "__array_interface__")) and is_of_torch(base):
            raise TypeError(_takes_one_tensor(base, target))
        return
    elementwise = isinstance(base, _ELEMENTWISE) if isinstance(base, nn.Module) else getattr(base, "func", base) in _ELEMENTWISE_FUNCTIONS  # functools.partial
    if elementwise and target.shape != output.shape:
        raise ValueError(
            f"target has shape {list(target.shape)} and the model's output {list(output.shape)}: {name_of(base)} would broadcast them against each other "
            "and mix the samples. Give the target the output's shape, for example target[:, None]"
        )
    if target.dim() == 0 or target.shape[0] != output.shape[0]:
        raise ValueError(
            f"target has shape {list(target.shape)}, and the model's output {list(output.shape)}: expected one target per sample, [N, ...]. Where the model "
            "pools rows to samples by a batch index (atoms to molecules), the target has one row per pooled sample"
        )
    if isinstance(base, nn.CrossEntropyLoss) and target.is_floating_point() and target.shape != output.shape:
        raise ValueError(
            f"target has shape {list(target.shape)} of {target.dtype} and the model's output {list(output.shape)}: "
            "CrossEntropyLoss takes class labels as integers (target.long()), or probabilities of the output's shape"
        )


def note_what_was_given(error: Exception, base: Any, output: Any) -> None:
    """Add to an error of a base loss that it was given all that the model returned, where it was."""
    if not isinstance(output, Tensor):
        error.add_note(
            f"The base loss {name_of(base)} was given what the model returned, whole, a {type(output).__name__}. For one output of it write "
            "InputGradientLoss(..., output=key)"
        )


def _takes_one_tensor(base: Any, target: Any) -> str:
    if hasattr(target, "__array_interface__"):
        return f"target is an array of {type(target).__module__} of shape {list(target.shape)}: give a tensor, torch.as_tensor(target)"
    keys = list(target) if isinstance(target, dict) else list(range(len(target)))
    if not isinstance(target, dict) and target and not any(isinstance(part, Tensor) for part in target):
        return f"the base loss {name_of(base)} takes one tensor as its target, got a {type(target).__name__} of numbers: torch.tensor(target)"
    made = f"nn.{type(base).__name__}()" if isinstance(base, nn.Module) else name_of(base)
    told = f"the base loss {name_of(base)} takes one tensor as its target, got a {type(target).__name__} of {keys}: name the part that it takes: write "
    return f"{told}ig.OnTarget({next(iter(keys), 'key')!r}, {made}) in place of the base loss"


def is_of_torch(base: Any) -> bool:
    """Whether it is one of torch's losses, all of which need a target; a callable of the user's own may do without."""
    return is_loss(base) or getattr(getattr(base, "func", base), "__module__", None) == F.__name__


def name_of(base: Any) -> str:
    """What a base loss is called in messages."""
    return getattr(base, "__name__", None) or type(base).__name__
