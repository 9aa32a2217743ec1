"""Variables and their changes: how a value is put in place of an input or of an inner module's output. Must not know engines and terms."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from inputgrad.torch_internals.function_modes import unseen_by_modes
from inputgrad.variables import Key

Change = Callable[[Tensor], Tensor]
"""What the model goes on with in place of a variable's own value."""


def displacement(key: Key, value: Tensor, here: Tensor, *, frozen: bool = False) -> Change:
    """z -> the value, by a displacement that is a constant: what computed z (an encoder, a generator) still learns through it.

    frozen: z may be another one than ``here`` was, and then the value moves with it.
    """
    value = shaped(key, value, here)
    if frozen and not value.requires_grad:
        return lambda z: value + (z - here)
    return lambda z: value + (z - z.detach()) if z.requires_grad and not value.requires_grad else value


def shaped(key: Key, value: Tensor, here: Tensor) -> Tensor:
    """``value`` for the variable under ``key``, in the type of its own value ``here``. Raises `ValueError` for another shape."""
    if value.shape != here.shape:
        raise ValueError(f"the new value of variable {key!r} has shape {list(value.shape)}, expected {list(here.shape)}{_elsewhere(value, here)}")
    return value.to(here.dtype)


def _elsewhere(value: Tensor, here: Tensor) -> str:
    """The line to write where other points are given, and not as many as the batch has samples."""
    if value.dim() != here.dim() or value.shape[1:] != here.shape[1:]:
        return ""
    return (
        ": it replaces the batch's own samples, one for one. For any number of other points write "
        "ig.field(batch, names=..., at=ig.Given(points)), or batch.at(ig.Given(points)).output"
    )


def module_hook(key: str, variables: dict[Key, Tensor], change: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        first = output[0] if isinstance(output, (tuple, list)) else output
        if not isinstance(first, Tensor) or not first.is_floating_point():
            raise TypeError(f"wrt={key!r}: the module must return a floating-point tensor (or a tuple that starts with one), got {type(first).__name__}")
        if key in variables:
            raise ValueError(f"wrt={key!r}: the module is called several times in one forward pass, so its output is not one variable; choose another")
        with unseen_by_modes():  # opening a variable is no doing of the model's, and no decision
            variables[key] = change(first)
        handed = variables[key].clone()
        return (handed, *output[1:]) if isinstance(output, (tuple, list)) else handed

    return hook


def unchanged(tensor: Tensor) -> Tensor:
    return tensor


def opened(tensor: Tensor) -> Tensor:
    """A variable of its own that can be differentiated: attached to the caller's graph where there is one, else a leaf that shares the values."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def seen(leaf: Tensor) -> Tensor:
    """A leaf as terms and losses see it, no leaf any more: torch's module tracker (`FlopCounterMode`) allows no gradient of a leaf that a module was given."""
    return leaf.view_as(leaf) if leaf.requires_grad else leaf
