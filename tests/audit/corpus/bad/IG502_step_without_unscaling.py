"""A loss with a gradient penalty is scaled for its backward pass, and the optimiser steps along the scaled gradients.

Thread: pytorch/pytorch#44667
"""

import torch
from torch import nn


def penalty(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    g = torch.autograd.grad(model(x).sum(), x, create_graph=True)[0]
    return g.norm(dim=1).square().mean()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=512.0)
    for _ in range(3):
        x, y = torch.randn(16, 4), torch.randn(16, 1)
        loss = nn.functional.mse_loss(model(x), y) + 0.1 * penalty(model, x)
        optimizer.zero_grad()
        scaler.scale(loss).backward()  # expect: IG502 error
        optimizer.step()


main()
