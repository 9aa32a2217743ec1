"""The gradients of student and teacher, both of a mean over the same batch: they are divided alike, and their directions do not know of it at all.

Thread: jacobgil/pytorch-grad-cam#584
"""

import torch
import torch.nn.functional as F
from torch import nn


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(9, width), nn.Tanh(), nn.Linear(width, 1))


class Distillation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.teacher, self.student = network(32).requires_grad_(False), network(8)

    def training_step(self, x: torch.Tensor) -> torch.Tensor:
        x = x.requires_grad_()
        out, wanted = self.student(x), self.teacher(x)
        slope = torch.autograd.grad(out.mean(), x, create_graph=True)[0]
        given = torch.autograd.grad(wanted.mean(), x)[0]
        return F.mse_loss(out, wanted.detach()) + 1 - F.cosine_similarity(slope, given, dim=1).mean()


module = Distillation()
optimizer = torch.optim.Adam(module.student.parameters(), lr=1e-3)
for _ in range(3):
    optimizer.zero_grad()
    module.training_step(torch.randn(14, 9)).backward()
    optimizer.step()
