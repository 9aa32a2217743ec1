"""Per-sample input gradients by torch.func, on the parameters themselves: the penalty reaches them.

Thread: pytorch/pytorch#88851
"""

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def output(weights: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return functional_call(model, weights, (x[None],)).squeeze()


for _ in range(4):
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    weights = dict(model.named_parameters())
    g = vmap(grad(output, argnums=1), in_dims=(None, 0))(weights, x)
    loss = nn.functional.mse_loss(model(x), y) + 0.1 * (g.norm(dim=1) - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
