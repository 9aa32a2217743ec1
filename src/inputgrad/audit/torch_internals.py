"""All that the audit uses of torch and that torch does not document, one plain function each. Knows torch alone: no probe, no rule.

Apart from the folder of that name, because none of it is needed to train. Read in torch 2.6 to 2.15. Each function says what it gives where its part is
missing; where nothing can take its place, `MissingInternalError` names the part.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import Tensor

from inputgrad.errors import MissingInternalError
from inputgrad.torch_internals.required import READ_IN

# The names of nodes in autograd's graph (`node.name()` is public, the names are torch's own). An unknown name is of no kind, so nothing is said of it.
SUM_NODES = ("Neg", "Sum", "Mean")
"""Beginnings of the names of nodes that sum or average, or change the sign."""
INPUT_KEEPING_NODES = ("Addmm", "Mm", "Bmm", "Convolution", "MkldnnConv", "Mv")
"""Beginnings of the names of nodes that keep their input for the gradient of their weight."""
SOFTMAX_NODE, LOG_SOFTMAX_NODE = "SoftmaxBackward", "LogSoftmaxBackward"
OBSTACLE_NODES = {"ScaledDotProduct": "attention", "CompiledFunction": "compiled", "CheckpointFunction": "checkpoint"}
"""Parts of the names of nodes that may have no second derivative, and what they are."""
HOOK_NODE = "BackwardHookFunction"
"""The beginning of the name of the node by which a module's backward hook is called."""
_BATCH_NORM, _DTENSOR_ENTRY = "BatchNorm", "_FromTorchTensorBackward"


@functools.cache
def _part(path: str) -> Any:
    """``torch.a.b``; raises `MissingInternalError` where that is missing."""
    value: Any = torch
    for name in path.split("."):
        value = getattr(value, name, None)
        if value is None:
            raise _missing(f"torch.{path}")
    return value


def _missing(part: str) -> MissingInternalError:
    return MissingInternalError(
        f"torch {torch.__version__} has no {part}, a private part of torch that inputgrad uses: the audit does not work. Install a torch from {READ_IN}"
    )


# function modes and transforms


def without_torch_function() -> contextlib.AbstractContextManager[None]:
    """A block in which no function mode sees torch's functions: `torch._C.DisableTorchFunction`. Needed."""
    return _part("_C.DisableTorchFunction")()


def inside_transform() -> bool:
    """Whether a transform of torch.func is at work, whose tensors hold no values: `torch._C._functorch.maybe_current_level`. Needed."""
    return _part("_C._functorch.maybe_current_level")() is not None


def is_innermost_mode(mode: Any) -> bool:
    """Whether this function mode is the innermost one: `torch.overrides._get_current_function_mode`. False where it is missing."""
    current = getattr(torch.overrides, "_get_current_function_mode", None)
    return current is not None and current() is mode


def is_dispatch_frame(file: str, function: str) -> bool:
    """Whether a frame is the one by which torch calls a function mode, `torch.overrides.handle_torch_function`. False where it has another name."""
    return function == "handle_torch_function" and file.endswith("overrides.py")


def reads(function: Any, attribute: str) -> bool:
    """Whether a function mode is told of a read of ``tensor.grad`` or ``tensor.data``: the attribute's own ``__get__``."""
    return function == getattr(Tensor, attribute).__get__


def writes(function: Any, attribute: str) -> bool:
    """Whether a function mode is told of a write to ``tensor.grad`` or ``tensor.data``: the attribute's own ``__set__``."""
    return function == getattr(Tensor, attribute).__set__


# nodes of autograd's graph


def leaf_of(node: Any) -> Tensor | None:
    """The leaf that a node puts its gradient in: ``AccumulateGrad.variable``. None for other nodes."""
    return getattr(node, "variable", None)


def gradient_types(node: Any) -> tuple[Any, ...]:
    """Shape and dtype of the gradients that come to a node: ``node._input_metadata``. Empty where it is missing."""
    return tuple(getattr(node, "_input_metadata", None) or ())


def node_number(node: Any) -> int:
    """The count of nodes when this one was made, which orders them in time: ``node._sequence_nr()``. Needed."""
    number = getattr(node, "_sequence_nr", None)
    if number is None:
        raise _missing("_sequence_nr of autograd's nodes")
    return int(number())


def next_node_number() -> int:
    """The count that the next node will get."""
    with torch.inference_mode(False), torch.enable_grad():
        return node_number(torch.zeros((), requires_grad=True).clone().grad_fn)


def summed_shape(node: Any) -> tuple[int, ...] | None:
    """The shape of what a node sums or averages: ``node._saved_self_sym_sizes``. None where it has no such field, as a sign change has none."""
    saved = None if node.name().startswith("Neg") else getattr(node, "_saved_self_sym_sizes", None)
    return None if saved is None else tuple(int(size) for size in saved)


def is_batch_norm_name(name: str) -> bool:
    """Whether a node of this name is batch normalisation, or its derivative."""
    return _BATCH_NORM in name


def is_training_batch_norm(node: Any) -> bool:
    """Whether it is batch normalisation by the batch's own statistics: ``_saved_training`` of its node, ``_saved_train`` of its first backward's.

    True for a node of that name that has neither field."""
    return _BATCH_NORM in node.name() and bool(getattr(node, "_saved_training", getattr(node, "_saved_train", True)))


def once_differentiable_function(node: Any) -> str | None:
    """The name of the autograd.Function of a node, where it is marked ``once_differentiable``; else None.

    Seen from where the code of its ``backward`` stands: the decorator's is in torch.autograd.function. ``type(node)._forward_cls`` is the Function.
    """
    return once_differentiable_function_of(type(node))


def once_differentiable_function_of(kind: Any) -> str | None:
    """The same by the type of the node."""
    function = getattr(kind, "_forward_cls", None)
    code = getattr(getattr(function, "backward", None), "__code__", None)
    marked = function is not None and code is not None and code.co_filename == torch.autograd.function.__file__
    return function.__name__ if function is not None and marked else None


def is_of_function(kind: Any) -> bool:
    """Whether nodes of this type are those of an autograd.Function."""
    return getattr(kind, "_forward_cls", None) is not None


def own_function(node: Any) -> str | None:
    """The name of the autograd.Function of a node, where that is not one of torch's or of this library's own or marked ``once_differentiable``; else None."""
    function = getattr(type(node), "_forward_cls", None)
    if function is None or str(function.__module__).startswith(("torch.", "inputgrad.")) or once_differentiable_function(node) is not None:
        return None
    return str(function.__name__)


# distributed training


def is_dtensor_entry(node: Any) -> bool:
    """Whether it is the node of `DTensor.from_local`. False where that has another name."""
    return node.name() == _DTENSOR_ENTRY


def placements_wanted(node: Any) -> list[Any]:
    """The layout in which the gradient must come to `DTensor.from_local`, so that its backward has nothing to exchange.

    ``grad_placements`` of its node, or those of the forward, ``forward_input_placements``, with partial sums whole. Needed.
    """
    from torch.distributed.tensor import Replicate

    given, forward = getattr(node, "grad_placements", None), getattr(node, "forward_input_placements", None)
    if not given and forward is None:
        raise _missing("forward_input_placements of the node of DTensor.from_local")
    return list(given) if given else [Replicate() if item.is_partial() else item for item in forward or ()]


def averages_gradients(module: Any) -> bool:
    """Whether DistributedDataParallel averages in the next backward pass, as outside ``no_sync``: ``require_backward_grad_sync``. True where missing."""
    return bool(getattr(module, "require_backward_grad_sync", True))
