"""A training loop of Accelerate, on one process or several."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import inputgrad as ig
from tests.integrations import bare


def loader(size: int) -> DataLoader:
    return DataLoader(TensorDataset(*bare.data()), batch_size=size)


def train(accelerator: Any, criterion: ig.InputGradientLoss, size: int, epochs: int = 2, clip: float | None = None) -> nn.Module:
    model = bare.model()
    model, optimizer, batches = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), loader(size))
    for _ in range(epochs):
        for x, y in batches:
            with accelerator.accumulate(model):
                accelerator.backward(criterion(model, x, y))
                if clip is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
    return accelerator.unwrap_model(model, keep_fp32_wrapper=False)
