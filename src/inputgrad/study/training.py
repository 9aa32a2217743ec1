"""The training itself: epochs over the data, resumable to the identical result.

Knows an assembly and checkpoints' contents; knows no file and no screen.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.batch import Step
from inputgrad.devices import devices_of
from inputgrad.passes.random_state import kept_random_state
from inputgrad.report.record import Epoch
from inputgrad.study import checkpoint, distributed
from inputgrad.study.assembly import Assembly
from inputgrad.study.problems import StudyError

_WHOLE = "the whole loss"
CHUNK = 1024
"""Samples a pass where nothing is trained."""


class Training:
    """A training under way: `run_epoch` goes one on, `state` and `restore` carry it across an interruption.

    The order of the samples comes from a generator of its own, so that runs with the same seed see the same batches whatever their losses draw.
    """

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        self.epochs: list[Epoch] = []
        self._trained = distributed.replica(assembly.model)
        if distributed.ranks() > 1:
            checkpoint.seed_all(distributed.seeded(assembly.config.seed))
        self._order = torch.Generator().manual_seed(assembly.config.seed)
        self._inputs, self._targets = assembly.data.train_inputs.to(assembly.device), assembly.targets(assembly.data.train_labels).to(assembly.device)

    @property
    def finished(self) -> bool:
        return len(self.epochs) >= self.assembly.config.epochs

    def run_epoch(self, on_step: Callable[[Step], None] = lambda step: None) -> Epoch:
        """One pass over the training data. Raises `StudyError` where the loss is no longer finite: then nothing of this epoch should be kept."""
        start = time.perf_counter()
        self.assembly.model.train()
        count, total, parts = len(self._inputs), torch.zeros((), dtype=torch.float64), dict[str, Tensor]()
        for chosen in torch.randperm(count, generator=self._order).split(self.assembly.config.batch_size):
            part, factor = distributed.share(chosen)
            step = self._step(part.to(self.assembly.device), factor)
            share = factor * len(chosen) / distributed.ranks() / count
            total += share * step.loss.detach().double().cpu()
            for name, value in step.parts.items():
                parts[name] = parts.get(name, torch.zeros((), dtype=torch.float64)) + share * value.double().cpu()
            on_step(step)
        found = {name: float(value) for name, value in distributed.summed({_WHOLE: total, **parts}).items()}
        epoch = self._epoch(found.pop(_WHOLE), found, time.perf_counter() - start)
        self.epochs.append(epoch)
        return epoch

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs: plain containers and tensors. Asked of all processes together."""
        criterion = self.assembly.criterion
        return {
            "model": self.assembly.model.state_dict(),
            "optimizer": self.assembly.optimizer.state_dict(),
            "criterion": criterion.state_dict() if isinstance(criterion, nn.Module) else {},
            "random": distributed.gathered(checkpoint.random_states(devices_of(self.assembly.model))),
            "order": self._order.get_state(),
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave; to the identical result on as many processes, on another number with other random draws.

        Raises `ValueError` for the state of another training.
        """
        try:
            self.assembly.model.load_state_dict(state["model"])
            self.assembly.optimizer.load_state_dict(state["optimizer"])
            if isinstance(self.assembly.criterion, nn.Module):
                self.assembly.criterion.load_state_dict(state["criterion"])
            self._order.set_state(state["order"])
            self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
            if len(state["random"]) == distributed.ranks():
                checkpoint.restore_random_states(state["random"][distributed.rank()], devices_of(self.assembly.model))
            else:
                checkpoint.seed_all(distributed.seeded(self.assembly.config.seed + 1000 * len(self.epochs)))
        except (RuntimeError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"of another model or another training: {str(error).strip().splitlines()[0]}") from error

    def _step(self, chosen: Tensor, factor: float) -> Step:
        optimizer = self.assembly.optimizer
        try:
            step = self.assembly.step(self._trained, self._inputs[chosen], self._targets[chosen])
        except ValueError as error:  # numbers that are not finite, above all
            place = f"{self.assembly.config.name}, epoch {len(self.epochs) + 1}"
            raise distributed.OneProcessError(f"{place}: {error}") from error
        except (MemoryError, torch.OutOfMemoryError) as error:
            place = f"{self.assembly.config.name}, epoch {len(self.epochs) + 1}"
            raise distributed.OneProcessError(f"{place}: out of memory; lower batch_size, and give the same command again: {error}") from error
        optimizer.zero_grad()
        (step.loss if factor == 1 else step.loss * factor).backward()
        optimizer.step()
        return step

    def _epoch(self, loss: float, parts: dict[str, float], seconds: float) -> Epoch:
        number, name = len(self.epochs) + 1, self.assembly.config.name
        if not math.isfinite(loss):
            raise StudyError(f"{name}: the loss is {loss} in epoch {number}: lower the learning rate (optimizer) or a term's weight")
        data = self.assembly.data
        scores = distributed.told_to_all(
            lambda: (score(self.assembly, data.train_inputs, data.train_labels), score(self.assembly, data.test_inputs, data.test_labels))
        )
        return Epoch(number, loss, parts, scores[0], scores[1], seconds)


def score(assembly: Assembly, inputs: Tensor, labels: Tensor) -> float:
    """Accuracy (0..1) for classes, mean squared error for wanted values; in evaluation mode, with the random state left alone."""
    with kept_random_state(devices_of(assembly.model)):
        output = torch.cat([assembly.output(part).cpu() for part in inputs.split(CHUNK)])
    if assembly.data.task == "classification":
        return (output.argmax(1) == labels).double().mean().item()
    return (output.flatten() - labels).double().square().mean().item()
