"""A penalty on a directional second derivative, with BatchNorm in evaluation mode for both derivatives and in training mode for the loss.

Thread: cyclomon/3dbraingen#6
"""

import torch
from torch import nn


def curvature(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    x = x.detach().requires_grad_()
    direction = nn.functional.normalize(torch.randn_like(x), dim=1)
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g * direction).sum(), x, create_graph=True)
    return h.square().sum(dim=1).mean()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        x, y = torch.randn(12, 5), torch.randn(12, 1)
        loss = nn.functional.mse_loss(model.train()(x), y)
        model.eval()
        loss = loss + 0.1 * curvature(model, x)
        model.train()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
