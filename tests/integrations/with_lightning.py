"""A module of Lightning under automatic optimisation."""

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from inputgrad.integrations.lightning import log_parts
from tests.integrations import bare


class Automatic(LightningModule):
    def __init__(self, criterion: Any = None, network: nn.Module | None = None) -> None:
        super().__init__()
        self.model = network or bare.model()
        self.criterion = criterion or bare.criterion()
        self.seen: list[tuple[bool, dict[str, float]]] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        step = self.criterion.evaluate(self.model, *batch)
        log_parts(self, step)
        return step.loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        step = self.criterion.evaluate(self.model, *batch)
        self.seen.append((torch.is_inference_mode_enabled(), {name: float(part) for name, part in step.parts.items()}))
        log_parts(self, step)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        log_parts(self, self.criterion.evaluate(self.model, *batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)
