"""A network for `inputgrad train`, whose module tells how a process ends that torchrun started."""

import atexit
import os
import sys
from typing import Any

from torch import nn


class _Held:
    def __del__(self, write: Any = sys.__stdout__.write) -> None:
        write("interpreter taken down\n")


if "TORCHELASTIC_RUN_ID" in os.environ:
    _HELD = _Held()
    atexit.register(print, "exit function")


def network(input_shape: tuple[int, ...], output_size: int) -> nn.Module:
    features = input_shape[0] if len(input_shape) == 1 else 64
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, output_size))
