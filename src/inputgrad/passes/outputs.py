"""What a model may return, and which tensor of it is the output."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.errors import nearest
from inputgrad.torch_internals import pytree

DEPENDS = "depends on its input"
"""What is checked of a model: that a path has once led from its output to a variable."""


def check_output(output: Any) -> None:
    """Raises `TypeError` for what is no floating-point tensor, `ValueError` for one without samples."""
    if isinstance(output, Tensor) and output.is_floating_point() and output.dim() and output.shape[0]:
        return
    if not isinstance(output, Tensor) or not output.is_floating_point():
        got = f"a tensor of {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(
            f"the model's output must be a floating-point tensor (or a tuple that starts with one, or an object with .logits), got {got}; "
            "pick it with InputGradientLoss(..., output=callable)"
        )
    raise ValueError(f"the model's output has shape {list(output.shape)}: expected [N, ...] with at least one sample")


def check_graph(output: Tensor) -> None:
    """Raises `ValueError` for an output that does not depend on anything."""
    if not output.requires_grad:
        raise ValueError(
            "the model's output carries no graph to the input: it was computed under no_grad or inference_mode, or detached, inside the model. "
            f"Remove that from the model's forward, or differentiate elsewhere with wrt=; grad enabled here: {torch.is_grad_enabled()}"
        )


def default_output(returned: Any) -> Any:
    """The output of a model: the tensor itself, ``.logits`` of an output object, or the first of a tuple or list."""
    if isinstance(returned, Tensor):
        return returned
    if hasattr(returned, "logits"):
        return returned.logits
    return returned[0] if isinstance(returned, (tuple, list)) and len(returned) else returned


@dataclass(frozen=True)
class Part:
    """One output of several, picked from what a model returns: by key of a dict, attribute of an object, or position in a tuple."""

    key: str | int

    def __call__(self, returned: Any) -> Any:
        if isinstance(returned, Mapping) and self.key in returned:
            return returned[self.key]
        if isinstance(self.key, int) and isinstance(returned, (tuple, list)) and -len(returned) <= self.key < len(returned):
            return returned[self.key]
        if isinstance(self.key, str) and not isinstance(returned, Tensor) and hasattr(returned, self.key):
            return getattr(returned, self.key)
        known = names_of_outputs(returned)
        raise ValueError(f"the output {self.key!r} is not among what the model returned, a {type(returned).__name__}; {nearest(self.key, known)}")


def names_of_outputs(returned: Any) -> list[str | int]:
    """What the outputs in what a model returned are called."""
    if isinstance(returned, Mapping):
        return list(returned)
    if isinstance(returned, (tuple, list)) and not hasattr(returned, "_fields"):
        return list(range(len(returned)))
    return [*getattr(returned, "_fields", ()), *getattr(returned, "__dict__", ())]


def has_one_output(returned: Any) -> bool:
    """Whether `default_output` finds a floating-point tensor in what a model returned."""
    output = default_output(returned)
    return isinstance(output, Tensor) and output.is_floating_point()


def check_one_output(returned: Any) -> None:
    """Raises `TypeError` where a model returned several outputs, of which none is the first."""
    if not has_one_output(returned) and tensors_in(returned):
        known = names_of_outputs(returned)
        key = repr(known[0]) if known else "..."
        raise TypeError(
            f"the model returned a {type(returned).__name__} of {known}, and one output is needed here. For base loss and all terms write "
            f"ig.InputGradientLoss(base, terms, output={key}), with base None where there are terms alone; for one function or term that has of=, "
            f"of=ig.heads.Output({key}). A base loss of your own, lambda out, target: ..., "
            "sees what the model returned, whole"
        )


def one_output(returned: Any) -> Any:
    """`default_output`. Raises `TypeError` where a model returned several outputs, of which none is the first."""
    if not isinstance(returned, Tensor):
        check_one_output(returned)
    return default_output(returned)


def representative(pick: Callable[[Any], Any], returned: Any) -> Any:
    """The output that ``pick`` finds; of a model that returns several without a first one, the first tensor that is one."""
    if pick is default_output and not isinstance(returned, Tensor) and not has_one_output(returned):
        return next(iter(tensors_in(returned)), default_output(returned))
    return pick(returned)


def tensors_in(returned: Any) -> list[Tensor]:
    """The floating-point tensors in what a model returned, in order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    with_tensors(returned, note)
    return found


def with_tensors(returned: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same containers and objects with each floating-point tensor changed."""
    leaves, structure = pytree.flatten(returned)
    changed = [_leaf_with_tensors(leaf, change) for leaf in leaves]
    return returned if all(a is b for a, b in zip(leaves, changed, strict=True)) else pytree.unflatten(changed, structure)


def _name(field: Any) -> str:
    return str(field.name)


def _leaf_with_tensors(leaf: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A leaf of torch's containers; a dataclass, or another plain object, is a container too."""
    if isinstance(leaf, Tensor):
        return change(leaf) if leaf.is_floating_point() or leaf.is_complex() else leaf
    if isinstance(leaf, (type, nn.Module)) or callable(leaf) or not hasattr(leaf, "__dict__"):
        return leaf
    named = {name: getattr(leaf, name) for name in map(_name, dataclasses.fields(leaf))} if dataclasses.is_dataclass(leaf) else vars(leaf)
    changed = {name: with_tensors(value, change) for name, value in named.items()}
    if all(changed[name] is value for name, value in named.items()):
        return leaf
    other = copy.copy(leaf)
    for name, value in changed.items():
        object.__setattr__(other, name, value)
    return other
