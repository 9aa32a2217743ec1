"""Checks of one call of the loss: gradients enabled, coupled samples, batches shared out between processes, numbers that are not finite."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from inputgrad.devices import LOOKS, may_be_looked_at, numbers
from inputgrad.distributed.ddp import active_ddp
from inputgrad.distributed.placement import Placement
from inputgrad.errors import warn
from inputgrad.memory import memory
from inputgrad.passes.model_checks import coupled_modules
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import ModelInputs

if TYPE_CHECKING:
    from inputgrad.terms.base import Weighted


def check_backward(model: nn.Module, scaler: Any) -> None:
    """Raises `RuntimeError` where gradients cannot be made now: without gradients enabled, and inside the forward pass of a replica."""
    if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
        raise TypeError(f"scaler must be a torch.amp.GradScaler or None, got {type(scaler).__name__}")
    if not torch.is_grad_enabled():
        raise RuntimeError("criterion.backward needs gradients: it was called under no_grad or inference_mode; for a value alone use criterion.evaluate")
    if active_ddp(model) is not None:
        raise RuntimeError(
            "criterion.backward was called inside the forward pass of a DistributedDataParallel that holds the model. DDP's reducer is not active "
            "until that pass has ended, so the processes would not exchange these gradients. Return criterion(model, inputs, target) from the wrapped step and "
            "call .backward() outside (in Lightning: self.manual_backward(criterion(self.model, inputs, target)))"
        )


def warn_if_coupled(model: nn.Module, terms: "Sequence[Weighted]") -> None:
    """One warning per model whose samples are coupled by batch statistics: a row of the input gradient is then not that sample's own alone."""
    if not terms or "coupled samples" in memory(model).warned:
        return
    for name, module in coupled_modules(model):
        memory(model).once("coupled samples")
        warn(
            f"module {name!r} ({type(module).__name__}) couples the samples of a batch by its statistics, so the input gradient of one sample's score "
            "reaches the other samples too: row n of the gradient is the derivative of the WHOLE batch's scores with respect to sample n. "
            "For gradients of each sample's own, use GroupNorm or LayerNorm, or put the module in evaluation mode"
        )
        return


def warn_if_split(owner: nn.Module, model: nn.Module, terms: "Sequence[Weighted]") -> None:
    """One warning a loss with a statistic of the batch, on a model whose batch is shared out between processes."""
    whole = next((weighted.term for weighted in terms if weighted.term.per == "batch"), None)
    if whole is None or not Placement(model).shares_out_batches or torch.distributed.get_world_size() == 1 or not memory(owner).once("batch statistic"):
        return
    warn(
        f"the term {whole.name} is a statistic of the batch, and each of the {torch.distributed.get_world_size()} processes takes it of its own share: the "
        "mean of those is another loss than the statistic of all samples. If the share is large enough, go on; else gather the batch, or use fewer processes"
    )


@contextmanager
def looking_every(steps: Any, number: int) -> Iterator[None]:
    """Around the step of that number, at which a device is waited for and looked at where ``steps`` divides it. Raises `TypeError` and `ValueError`."""
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"criterion.check_finite must be None or a number of steps, such as 100; got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"criterion.check_finite must be None or a number of steps from 1 up, such as 100; got {steps}")
    before = LOOKS.set(number % steps == 0)
    try:
        yield
    finally:
        LOOKS.reset(before)


def check_finite(values: Mapping[str, Tensor], inputs: ModelInputs, target: Any) -> None:
    """Name the argument that brought NaN or infinity into the loss, where one of them did.

    On the CPU; on a device, which is waited for, every so many steps (``criterion.check_finite``) and under ``torch.autograd.set_detect_anomaly(True)``.
    """
    if is_tracing() or not all(map(may_be_looked_at, values.values())) or all(map(math.isfinite, numbers([value.detach() for value in values.values()]))):
        return
    named = [(f"inputs[{key!r}]", tensor) for key, tensor in inputs.tensors()]
    named += [("target", target)] if isinstance(target, Tensor) else []
    for name, tensor in named:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).sum())
            raise ValueError(f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite, and so is the loss: clean or mask the data")
