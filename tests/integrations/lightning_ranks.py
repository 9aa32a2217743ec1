"""What each of two processes runs under Lightning's DDP: every way of a step, and how far its weights are from those of one process on the whole batches."""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import inputgrad as ig
from tests.integrations import bare
from tests.integrations.with_lightning import Automatic

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


class AtOnce(OnRanks):
    """Manual, and backward where Lightning's reducer does not listen."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.criterion.backward(self.model, *batch)


class Sharded(OnRanks):
    """Under FSDP2, nested; Lightning calls the hook before every run."""

    def configure_model(self) -> None:
        if not isinstance(self.model, FSDPModule):
            for module in (self.model[0], self.model):
                fully_shard(module, mesh=self.device_mesh["data_parallel"])


def gathered(model: nn.Module) -> nn.Module:
    """A model of ordinary tensors with the weights of a sharded one."""
    found = bare.model()
    for mine, theirs in zip(found.parameters(), model.parameters(), strict=True):
        mine.data = theirs.full_tensor().detach() if isinstance(theirs, DTensor) else theirs.detach()
    return found


def criterion(engine: str) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("cross_entropy", 0.5 * ig.GradientNorm(of="loss", power=2), engine=engine)


def fitted(module: OnRanks, strategy: Strategy) -> tuple[Trainer, DataLoader[Any]]:
    dataset = TensorDataset(*bare.data())
    # the sampler deals the samples out in turn: the halves of 8 consecutive samples make one batch of 8
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy=strategy, max_epochs=2, use_distributed_sampler=False, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(dataset, batch_size=4, sampler=DistributedSampler(dataset, 2, trainer.global_rank, shuffle=False))
    trainer.fit(module, loader)
    return trainer, loader


def distance(module: OnRanks, strategy: Strategy, loss: ig.InputGradientLoss | None = None) -> tuple[float, float, float]:
    trainer, loader = fitted(module, strategy)
    (validated,) = trainer.validate(module, loader, verbose=False)
    reference, loss = bare.model(), loss or criterion("double_backward")
    bare.loop(reference, lambda x, y: loss(reference, x, y), bare.batches(8))
    return bare.distance(gathered(module.model), reference), validated["val_loss"], loss.evaluate(reference, *bare.data()).loss.item()


def alone() -> ig.InputGradientLoss:
    """A loss that does not reach the last bias, for which a reducer waits."""
    return ig.InputGradientLoss(None, [0.5 * ig.GradientNorm(of="output", power=2)])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    ddp, fsdp = {"process_group_backend": "gloo"}, {"data_parallel_size": 2, "tensor_parallel_size": 1, "process_group_backend": "gloo"}
    found: dict[str, Any] = {f"{e} {way}": distance(OnRanks(criterion(e), way), DDPStrategy(**ddp)) for e in ENGINES for way in ("automatic", "manual")}
    for engine in ("auto", "double_backward"):
        found[f"fsdp2 {engine}"] = distance(Sharded(criterion(engine), "automatic"), ModelParallelStrategy(**fsdp))
    found["alone"] = distance(OnRanks(alone(), "automatic"), DDPStrategy(**ddp), alone())
    try:
        fitted(AtOnce(criterion("auto"), "manual"), DDPStrategy(**ddp))
    except RuntimeError as error:
        found["at once"] = str(error)
    (folder / f"{torch.distributed.get_rank()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
