"""A run of the model for its values alone: gradients are enabled, since user code may look at that, and nothing is kept for a backward pass."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from inputgrad.torch_internals import messages

Value = TypeVar("Value")


def values_alone(run: Callable[[], Value]) -> Value:
    """What ``run`` gives, made without the tensors that a backward pass through it would need.

    A run that needs them, such as that of a model which differentiates something itself, is made again with them.
    """
    missed: list[bool] = []

    def asked_for(_nothing: None) -> Any:
        missed.append(True)
        raise RuntimeError("this run is made for its values alone")

    try:
        with torch.autograd.graph.saved_tensors_hooks(_nothing, asked_for):
            value = run()
        if not missed:  # whoever asked may have caught the error
            return value
    except RuntimeError as error:
        if messages.is_machine_error(error):
            raise
    return run()


def _nothing(_saved: Any) -> None:
    return None
