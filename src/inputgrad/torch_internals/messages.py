"""What torch says in its errors, in one table: the signs by which a message is known, what it means, and what to do.

Read in torch 2.6 to 2.15. A message in other words is not recognised: then torch's own is passed on as it is, and the canaries say so.
"""

import re
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Message:
    """One thing that torch says. signs: any of them, in small letters or capitals. means: in words. way_out: what to do."""

    signs: tuple[str, ...]
    means: str = ""
    way_out: str = ""

    def is_in(self, error: BaseException | str) -> bool:
        """Whether torch says it in this error."""
        text = str(error).lower()
        return any(sign.lower() in text for sign in self.signs)


LEAF_ASKED_FOR = Message(("leaf node",), "autograd.grad asks for the gradient of this leaf")
CHECKPOINT = Message(("checkpoint",), "a checkpointed region stands in the way")
NO_SECOND_DERIVATIVE = Message(("not implemented", "double backward"), "an operation has no second derivative")
WRITTEN_OVER = Message(("modified by an inplace operation",), "what the graph keeps was written over")
OTHER_DEVICE = Message(
    ("be on the same device", "but expected it to be on", "and weight type", "on the same device as", "not been allocated on MPS"),
    "tensors of two devices meet",
)
OTHER_PROCESS = Message(("gloo", "nccl"), "another process is gone, or waits for something else")
_OUT_OF_MEMORY = Message(("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "std::bad_alloc"))
_OF_A_DEVICE = Message(
    (
        *("CUDA error", "CUDA driver error", "HIP error", "device-side assert", "illegal memory access"),
        *("STATUS_EXECUTION_FAILED", "STATUS_INTERNAL_ERROR", "STATUS_NOT_INITIALIZED"),
        *("UR_RESULT_ERROR", "Level-Zero error", "SYCL error", "device lost", "Command buffer execution failed"),
    )
)
"""NOT_SUPPORTED of a device's libraries is left out: it says what an operation lacks."""
ONCE_DIFFERENTIABLE = "trying to differentiate twice a function that was marked with @once_differentiable"
"""In torch's own words, for a Function that is recognised by its node."""

_OBSTACLES = (
    Message(("use_reentrant=True",), "re-entrant checkpointing allows no such derivative; checkpoint(..., use_reentrant=False) can be differentiated twice"),
    Message(("torch.utils.checkpoint",), "torch.utils.checkpoint computes its region again outside of this derivative"),
    Message(("setStorage",), "sharded parameters are taken apart again before this derivative needs them"),
    Message(
        ("DTensor.from_local",),
        "torch's own DTensor.from_local was called by a kept reference; call it as DTensor.from_local, so that the exchange is seen",
    ),
    Message(
        ("Tensor.requires_grad_()",),
        "Tensor.requires_grad_(), called inside the model or by re-entrant checkpointing, is not possible in this derivative",
    ),
    Message(("cannot register a hook",), "the model puts a hook on a gradient (register_hook), which this derivative has no place for"),
    Message(("setup_context",), "a custom autograd.Function without setup_context and jvp has no such derivative here"),
)
"""Where no single operation is to blame."""

_OPERATION = re.compile(
    r"derivative (?:for|of) '?(?:aten::|torch::)?(\w+)'?|forward AD with (\w+)|(\w+Backward\w*)|(once_differentiable)|(torch\.compile)|(autograd\.Function)"
)

_WITHOUT_FURTHER_DERIVATIVE = (
    Message(
        ("scaled_dot_product",),
        way_out="Run the model within `with torch.nn.attention.sdpa_kernel(SDPBackend.MATH):`, whose attention has derivatives of every order",
    ),
    Message(
        ("once_differentiable",),
        way_out="Write the backward of this autograd.Function in operations that can be differentiated, without @once_differentiable",
    ),
    Message(("double backward",), way_out="Give the model as it was before torch.compile"),
    Message(
        ("is not implemented", "checkpoint", "is not differentiable with respect to", "nested_tensor"),
        way_out="Replace the operation by one with derivatives of every order; for checkpoints give use_reentrant=False",
    ),
)
"""Where a derivative of any order was asked for."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, which says nothing about what can be differentiated. The CPU and the libraries of a device raise it as a plain RuntimeError."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.is_in(error))


def is_device_error(error: BaseException) -> bool:
    """Whether the device failed. CUDA's errors of torch 2.8 and later have a class; its libraries and other devices raise a plain RuntimeError."""
    return isinstance(error, _DEVICE_ERRORS) or (isinstance(error, RuntimeError) and _OF_A_DEVICE.is_in(error))


def is_machine_error(error: BaseException | None) -> bool:
    """Whether memory ran out or the device failed, in this error or in one that it was raised from: it says nothing about the model, and passes through.

    Every broad ``except`` of the library asks this first (tests/core/test_broad_excepts.py).
    """
    return error is not None and (is_out_of_memory(error) or is_device_error(error) or is_machine_error(error.__cause__))


_DEVICE_ERRORS: tuple[type[BaseException], ...] = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
"""Read in torch 2.8 to 2.15. Missing before: the text alone tells."""


def obstacle(error: BaseException | str) -> str:
    """What stood in the way of a derivative, in words."""
    for message in _OBSTACLES:
        if message.is_in(error):
            return message.means
    match = _OPERATION.search(str(error))
    return f"{next(filter(None, match.groups())) if match else 'an operation'} has no such derivative here"


def way_to_further_derivatives(error: BaseException | str) -> str | None:
    """What to do where torch lacks a derivative of a derivative; None where it says something else."""
    return next((message.way_out for message in _WITHOUT_FURTHER_DERIVATIVE if message.is_in(error)), None)
