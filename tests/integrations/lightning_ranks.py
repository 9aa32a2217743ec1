"""What each of two processes runs under Lightning's DDP: every way of a step, and how far its weights are from those of one process on the whole batches."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import inputgrad as ig
from tests.integrations import bare
from tests.integrations.test_lightning import Automatic

ENGINES = ("double_backward", "finite_difference")  # all engines under bare DDP: tests/scale


class OnRanks(Automatic):
    def __init__(self, criterion: ig.InputGradientLoss, way: str) -> None:
        super().__init__(criterion)
        self.automatic_optimization = way == "automatic"

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        if self.automatic_optimization:
            return super().training_step(batch, batch_idx)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.criterion(self.model, *batch))  # criterion.backward would pass Lightning's reducer by
        optimizer.step()
        return None


def criterion(engine: str) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("cross_entropy", 0.5 * ig.GradientNorm(of="loss", power=2), engine=engine)


def distance(engine: str, way: str) -> tuple[float, float, float]:
    module = OnRanks(criterion(engine), way)
    dataset = TensorDataset(*bare.data())
    # the sampler deals the samples out in turn: the halves of 8 consecutive samples make one batch of 8
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=DDPStrategy(process_group_backend="gloo"), max_epochs=2, use_distributed_sampler=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    rank = trainer.global_rank
    loader = DataLoader(dataset, batch_size=4, sampler=DistributedSampler(dataset, 2, rank, shuffle=False))
    trainer.fit(module, loader)
    (validated,) = trainer.validate(module, loader, verbose=False)
    reference, loss = bare.model(), criterion("double_backward")
    bare.loop(reference, lambda x, y: loss(reference, x, y), bare.batches(8))
    return bare.distance(module.model, reference), validated["val_loss"], loss.evaluate(reference, *bare.data()).loss.item()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = {f"{engine} {way}": distance(engine, way) for engine in ENGINES for way in ("automatic", "manual")}
    (folder / f"{torch.distributed.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
