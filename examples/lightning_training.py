"""Lightning: a network with a small input gradient, its parts in the log, and validation as Lightning does it, under inference_mode.

Run: pip install lightning, then python examples/lightning_training.py
"""

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import inputgrad as ig
from inputgrad.integrations.lightning import log_parts


class Smooth(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3))
        self.criterion = nn.CrossEntropyLoss() + 0.1 * ig.GradientNorm(of="loss")

    def training_step(self, batch, batch_idx):
        step = self.criterion.evaluate(self.model, *batch)
        log_parts(self, step)
        return step.loss

    def validation_step(self, batch, batch_idx):
        log_parts(self, self.criterion.evaluate(self.model, *batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


if __name__ == "__main__":
    seed_everything(0)
    x = torch.randn(256, 8)
    batches = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=32)
    trainer = Trainer(max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(Smooth(), batches, batches)
    print({name: round(value.item(), 4) for name, value in trainer.callback_metrics.items()})
