"""A criterion of a user's own that goes wrong at a step of its choice, on a process of its choice."""

import os
import signal

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.study.distributed import rank

_CRITERION = ig.InputGradientLoss("cross_entropy", [0.1 * ig.GradientNorm(of="loss")])
_steps = 0


def criterion(model: nn.Module, inputs: Tensor, target: Tensor, how: str, step: int, on: int, unless: str) -> ig.batch.Step:
    """how: "kill", "nan" or "raise"; nothing where the file ``unless`` exists, so that a second attempt goes through."""
    global _steps
    _steps += model.training
    if _steps == step and rank() == on and not os.path.exists(unless):  # noqa: PTH110  # a config holds texts
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "raise":
            raise RuntimeError("an error of the user's own")
        inputs = torch.where(torch.arange(len(inputs))[:, None, None, None] == 0, torch.nan, inputs)
    return _CRITERION.evaluate(model, inputs, target)
