"""What a model may return, and which tensor of it is the output."""

from typing import Any

import torch
from torch import Tensor

DEPENDS = "depends on its input"
"""What is checked of a model: that a path has once led from its output to a variable."""


def check_output(output: Any) -> None:
    """Raises `TypeError` for what is no floating-point tensor, `ValueError` for one without samples."""
    if not isinstance(output, Tensor) or not output.is_floating_point():
        got = f"a tensor of {output.dtype}" if isinstance(output, Tensor) else type(output).__name__
        raise TypeError(
            f"the model's output must be a floating-point tensor (or a tuple that starts with one, or an object with .logits), got {got}; "
            "pick it with InputGradientLoss(..., output=callable)"
        )
    if output.dim() == 0 or output.shape[0] == 0:
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
