"""What differs from device to device: float64, generators, waits; and tensors of the user's that are moved to a device once and kept there.

Knows only what is remembered of a tensor (`memory`). Only public parts of torch are used.
"""

import math
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from copy import deepcopy
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.memory import memory
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.functorch import is_transforming
from inputgrad.torch_internals.tensors import is_at_hand, times_written
from inputgrad.torch_internals.tracing import is_tracing, is_watched

_WITHOUT_A_STATE = ("cpu", "meta")
"""The generator of the CPU is asked for as such."""


LOOKS: ContextVar[bool] = ContextVar("LOOKS", default=False)
"""Whether the present call looks at numbers of a device too."""


def may_be_looked_at(tensor: Tensor) -> bool:
    """Whether a number is looked at for NaN and infinity: where that costs no wait, or the user has asked for it."""
    return is_at_hand(tensor) or LOOKS.get() or torch.is_anomaly_enabled()


def is_readable(tensor: Tensor) -> bool:
    """Whether its numbers may be read now: an ordinary tensor, not traced or inside a transform, and no wait that was not asked for."""
    return type(tensor) is Tensor and not is_tracing() and not is_transforming() and may_be_looked_at(tensor)


def has_float64(device: torch.device) -> bool:
    """Whether the device computes in float64: Metal does not, nor do some of Intel's. Tried once for each."""
    if device.type in ("cpu", "cuda", "meta"):
        return True
    if device not in _HAS_FLOAT64 and (is_tracing() or is_transforming() or is_watched()):
        return device.type != "mps"  # no place for a trial, whose answer would be kept
    if device not in _HAS_FLOAT64:
        _HAS_FLOAT64[device] = device.type != "mps" and _computes_in_float64(device)
    return _HAS_FLOAT64[device]


_HAS_FLOAT64: dict[torch.device, bool] = {}


def _computes_in_float64(device: torch.device) -> bool:
    try:
        return float(torch.ones(2, device=device).to(torch.float64).sum()) == 2
    except (RuntimeError, TypeError) as error:
        if messages.is_machine_error(error):
            raise
        return False


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float64, or in float32 on a device without it; complex numbers likewise."""
    if tensor.is_complex():
        return tensor.to(torch.complex128 if has_float64(tensor.device) else torch.complex64)
    return tensor.to(torch.float64 if has_float64(tensor.device) else torch.float32)


def in_float64(tensor: Tensor) -> Tensor:
    """The tensor in float64, on the CPU where its device has none. For numbers that are looked at anyway."""
    tensor = tensor if has_float64(tensor.device) else tensor.cpu()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def length(tensor: Tensor) -> Tensor:
    """‖tensor‖₂, 0-d, in float64; in float32 on a device without it, divided by the largest number before it is squared, which else is lost or too large."""
    tensor = wide(tensor.detach())
    if has_float64(tensor.device) or not tensor.numel():
        return tensor.norm()
    largest = tensor.abs().amax()
    unit = torch.where((largest > 0) & largest.isfinite(), largest, 1.0)
    return (tensor / unit).norm() * unit


def numbers(scalars: Sequence[Tensor]) -> list[float]:
    """0-d tensors as floats. A device is waited for once."""
    if len({scalar.device for scalar in scalars}) > 1:
        return [float(scalar) for scalar in scalars]
    return torch.stack([wide(scalar) for scalar in scalars]).tolist() if scalars else []


class Reading:
    """0-d tensors to be read as numbers; those of several readings are read in one transfer (`read_together`)."""

    def __init__(self, scalars: Sequence[Tensor]) -> None:
        self._scalars = scalars
        self._numbers: list[float] | None = None

    def numbers(self) -> list[float]:
        """As floats; a device is waited for, unless they have been read already."""
        if self._numbers is None:
            read_together([self])
        assert self._numbers is not None
        return self._numbers


def read_together(readings: Sequence[Reading]) -> None:
    """Read what has not been read yet. A device is waited for once."""
    waiting = [reading for reading in readings if reading._numbers is None]
    found = iter(numbers([scalar for reading in waiting for scalar in reading._scalars]))
    for reading in waiting:
        reading._numbers = list(islice(found, len(reading._scalars)))


def joint_length(tensors: Sequence[Tensor]) -> float:
    """The length of all of them as one long vector. A device is waited for once."""
    return math.hypot(*numbers([length(tensor) for tensor in tensors]))


def devices_of(model: nn.Module | None, tensors: Iterable[Any] = ()) -> tuple[torch.device, ...]:
    """The devices, apart from the CPU, that the model's parameters and buffers and these tensors stand on, each once.

    Looked for at each call, and only where torch has devices: a model may be moved at any time, and the walk costs less than one kernel.
    """
    if not _has_devices():
        return ()
    found: dict[torch.device, None] = {}
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            found[tensor.device] = None
    if model is not None:
        for held in (model.parameters(), model.buffers()):
            for tensor in held:
                found[tensor.device] = None
    return tuple(device for device in found if device.type not in _WITHOUT_A_STATE)


def _has_devices() -> bool:
    """Whether torch knows of any device apart from the CPU. Where there is none torch 2.6 raises, later releases give None."""
    try:
        return torch.accelerator.current_accelerator() is not None
    except RuntimeError:
        return False


def is_capturing(device: torch.device) -> bool:
    """Whether the operations on the device are being captured in a graph: then nothing can be waited for, and its generator has no state to be read."""
    asked = getattr(torch.get_device_module(device), "is_current_stream_capturing", None)
    return asked is not None and bool(asked())


def generator_state(device: torch.device) -> Tensor | None:
    """The state of the generator that operations on the device draw from by default; None while they are captured."""
    return None if is_capturing(device) else torch.get_device_module(device).get_rng_state(device)


def set_generator_state(device: torch.device, state: Tensor | None) -> None:
    """Put such a state back."""
    if state is not None:
        torch.get_device_module(device).set_rng_state(state, device)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "mps":
        torch.mps.synchronize()
    elif device.type not in _WITHOUT_A_STATE:
        torch.get_device_module(device).synchronize(device)


def moved_once(held: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor that a term holds, on this device and in this type; None: in its own.

    Copied to another device once, and kept there until it is written to or no longer held: a copy from the CPU at each step would make the host wait.
    One that requires grad is copied at each step, with its graph.
    """
    dtype = dtype or held.dtype
    if held.device == device:
        return held.to(dtype)
    if held.requires_grad or held.is_inference() or is_tracing():
        return held.to(device, dtype)
    known, key = memory(held).measured, ("moved", device, dtype)
    version, moved = known.get(key, (None, None))
    if moved is None or version != times_written(held):
        with torch.inference_mode(False):
            moved = held.to(device, dtype)
        if not is_transforming() and not is_watched():  # what is made there does not outlive it
            known[key] = (times_written(held), moved)
    return moved


def moved_like(held: Tensor, like: Tensor) -> Tensor:
    """`moved_once` to the device and type of another tensor, without a graph."""
    return moved_once(held, like.device, like.dtype).detach()


def number(value: float, device: torch.device) -> Tensor:
    """A number as a 0-d tensor in float64, or float32 on a device without it: filled in there, so that nothing is copied."""
    return torch.full((), value, dtype=torch.float64 if has_float64(device) else torch.float32, device=device)


def module_on(module: nn.Module, device: torch.device) -> nn.Module:
    """A module that a term holds, on this device: itself, or a copy made once where all of it lies on the CPU, and again after it was written to."""
    held = [*module.parameters(), *module.buffers()]
    if device.type == "cpu" or not held or any(tensor.device.type != "cpu" for tensor in held):
        return module
    known, key = memory(module).measured, ("moved", device)
    version = (module.training, *map(times_written, held))
    before, moved = known.get(key, (None, None))
    if before != version:
        moved = deepcopy(module).to(device)
        known[key] = (version, moved)
    return moved


def constant(values: Sequence[float], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers of the library's own as a tensor ``[len(values)]``, not to be written to; copied to a device once."""
    key = (tuple(values), device, dtype)
    if (found := _CONSTANTS.get(key)) is None or is_tracing():  # a trace takes in a literal
        found = torch.tensor(values, dtype=dtype, device=device)
        if not is_tracing() and not is_transforming() and not is_watched() and not torch.is_inference_mode_enabled():
            if len(_CONSTANTS) >= _MOST_CONSTANTS:
                _CONSTANTS.clear()
            _CONSTANTS[key] = found
    return found


_CONSTANTS: dict[Any, Tensor] = {}
_MOST_CONSTANTS = 4096
