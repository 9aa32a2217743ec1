"""Checkpoints: everything that a training needs to go on as if it had never stopped. Plain containers and tensors, so that they load safely.

Knows torch's saving and the random states; knows no config and no epoch.
"""

import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inputgrad.devices import generator_state, set_generator_state
from inputgrad.study.problems import StudyError


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
        if len(state) == len(generator_state(device)):  # of the same kind
            set_generator_state(device, state)


def save(state: dict[str, Any], path: Path) -> None:
    """Write beside, then replace: whoever stops the program at any moment finds the old checkpoint or the new one."""
    _written(path, lambda beside: torch.save(state, beside))


def load(path: Path) -> dict[str, Any]:
    """The state that `save` wrote. Raises `StudyError` where the file is something else."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StudyError(f"{path}: no checkpoint of this command ({type(error).__name__}); remove it, or start afresh with --overwrite") from error
    return state


def write_text(text: str, path: Path) -> None:
    """Write a text beside, then replace."""
    _written(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_json(data: Any, path: Path) -> None:
    write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", path)


def _written(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name(path.name + ".new")
    try:
        write(beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, RuntimeError) as error:  # torch tells a full disk by a RuntimeError
        beside.unlink(missing_ok=True)
        told = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kept = "what stood there before is whole" if path.exists() else "nothing stands there"
        raise StudyError(f"{path} could not be written ({told}); {kept}. Make room or choose another --out, and give the same command again") from error
