"""Heads that only the training command names. Knows what a head is, and nothing else."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.heads import Head


@dataclass(frozen=True)
class OneOutput(Head):
    """s = f_index(x): one output (the logit of one class), the same for every sample. Outputs ``[N, C]`` -> ``[N]``."""

    index: int

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"one_output: index must be the number of an output, from 0; got {self.index}")

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        if output.dim() != 2 or self.index >= output.shape[1]:
            raise ValueError(f"one_output: index={self.index} needs outputs [N, C] with C > {self.index}, got {list(output.shape)}; give another index")
        return output[:, self.index]
