"""A penalty on the size of the input gradient, as the root of the sum over everything: it grows with the root of the batch size.

Thread: kuc2477/pytorch-wgan-gp#1
"""

import torch
import torch.nn.functional as F
from torch import nn


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 8, 5, padding=2), nn.GELU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(32, 1))

    def forward(self, x):
        return self.body(x)

    def training_step(self, batch):
        x, y = batch
        x.requires_grad_()
        out = self(x)
        g = torch.autograd.grad(out.sum(), x, create_graph=True)[0]
        size = torch.sqrt(torch.sum(g**2) + 1e-12)  # expect: IG302 warning
        return F.mse_loss(out, y) + 0.01 * size


model = Regression()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(4):
    loss = model.training_step((torch.randn(16, 2, 20), torch.randn(16, 1)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
