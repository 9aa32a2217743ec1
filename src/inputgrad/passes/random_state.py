"""The state of every generator that a model may draw from by default: taken, and put back. Must not know models."""

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.devices import generator_state, set_generator_state


@dataclass(frozen=True)
class RandomState:
    """The state of every generator that a model may draw from by default: torch's, Python's, numpy's where it is loaded, and those of devices."""

    torchs: Tensor
    pythons: Any
    numpys: Any
    of_devices: dict[torch.device, Tensor | None]

    @property
    def devices(self) -> tuple[torch.device, ...]:
        return tuple(self.of_devices)


def random_state(devices: Iterable[torch.device] = ()) -> RandomState:
    """The present state. devices: those apart from the CPU (`devices_of`)."""
    numpy = sys.modules.get("numpy.random")
    drawn = {device: generator_state(device) for device in devices}
    return RandomState(torch.get_rng_state(), random.getstate(), numpy.get_state() if numpy else None, drawn)


@contextmanager
def kept_random_state(devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Around draws that leave no trace. ``torch.random.fork_rng`` would start every GPU of the machine."""
    before = random_state(devices)
    try:
        yield
    finally:
        set_random_state(before)


def set_random_state(state: RandomState) -> None:
    """Put such a state back."""
    torch.set_rng_state(state.torchs)
    random.setstate(state.pythons)
    numpy = sys.modules.get("numpy.random")
    if numpy and state.numpys is not None:
        numpy.set_state(state.numpys)
    for device, own in state.of_devices.items():
        set_generator_state(device, own)
