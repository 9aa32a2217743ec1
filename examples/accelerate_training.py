"""Accelerate: a prepared model, accumulation over four batches, the parts averaged over the processes, the criterion in the saved state.

Run: pip install accelerate, then python examples/accelerate_training.py, or torchrun --nproc-per-node 2 examples/accelerate_training.py
"""

import tempfile

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import inputgrad as ig
from inputgrad.integrations.accelerate import log_parts

if __name__ == "__main__":
    set_seed(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    x = torch.randn(256, 8)
    model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3))
    loader = DataLoader(TensorDataset(x, x[:, :3].argmax(1)), batch_size=16)
    model, optimizer, loader = accelerator.prepare(model, torch.optim.Adam(model.parameters(), 1e-2), loader)
    criterion = nn.CrossEntropyLoss() + 0.1 * ig.GradientNorm(of="loss")
    accelerator.register_for_checkpointing(criterion)
    for epoch in range(10):
        for inputs, labels in loader:
            with accelerator.accumulate(model):
                step = criterion.evaluate(model, inputs, labels)
                accelerator.backward(step.loss)
                optimizer.step()
                optimizer.zero_grad()
        means = log_parts(accelerator, step, epoch)
    accelerator.print({name: round(value, 4) for name, value in means.items()})
    if accelerator.num_processes == 1:
        with tempfile.TemporaryDirectory() as folder:
            accelerator.save_state(folder)
