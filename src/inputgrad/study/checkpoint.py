"""Checkpoints: everything that a training needs to go on as if it had never stopped. Plain containers and tensors, so that they load safely.

Knows torch's saving and the random states; knows no config and no epoch.
"""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inputgrad.devices import generator_state, set_generator_state
from inputgrad.study import writing
from inputgrad.study.problems import StudyError

PARTS = frozenset({"model", "optimizer", "criterion", "random", "order", "epochs"})
"""What a checkpoint holds."""


def seed_all(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def random_states(devices: Iterable[torch.device] = ()) -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, and those of the devices that the run uses."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "devices": {str(device): generator_state(device) for device in devices},
    }


def restore_random_states(states: dict[str, Any], devices: Iterable[torch.device] = ()) -> None:
    """Put back what `random_states` gave, on as many devices as there are now."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"])
    for device, state in zip(devices, states.get("devices", {}).values(), strict=False):  # in order: they may be others, and fewer, than they were
        present = generator_state(device)
        if present is not None and len(state) == len(present):  # of the same kind
            set_generator_state(device, state)


def save(state: dict[str, Any], path: Path) -> None:
    """Write beside, then replace: whoever stops the program at any moment finds the old checkpoint or the new one."""
    writing.replaced(path, lambda beside: _saved(state, beside))


def _saved(state: dict[str, Any], beside: Path) -> None:
    """By an open file: the name of a path would go into the archive, and equal states would give other bytes."""
    with beside.open("wb") as file:
        torch.save(state, file)


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote. Raises `StudyError` where the file is something else."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise foreign(path, type(error).__name__) from error
    if not isinstance(state, dict) or not state.keys() >= PARTS:
        raise foreign(path, f"it holds {type(state).__name__}, not {', '.join(sorted(PARTS))}")
    return state


def foreign(path: Path, found: str) -> StudyError:
    """The error for a file that is no checkpoint of the run at hand."""
    return StudyError(f"{path}: no checkpoint of this command ({found}); remove it, or start again with --overwrite")
