"""The input gradient goes into the loss as x.grad.data.

Thread: discuss.pytorch.org, topic 13409, "Is it possible to use the gradient with respect to the input in the loss?"
"""

import torch
from torch import nn


def step(net: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    x = x.detach().requires_grad_()
    out = net(x)
    out.backward(torch.ones_like(out), retain_graph=True)  # expect: IG101 error
    slope = x.grad.data
    net.zero_grad()
    loss = torch.nn.functional.l1_loss(out, y)
    loss += 0.1 * slope.pow(2).sum(1).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


net = nn.Sequential(nn.Linear(4, 8), nn.Softplus(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(net.parameters())
for _ in range(4):
    step(net, optimizer, torch.randn(16, 4), torch.randn(16, 1))
