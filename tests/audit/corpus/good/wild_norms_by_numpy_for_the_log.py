"""Norms of the input gradient go through numpy into a history and into what chooses the weight of the next step; the loss takes them as they are.

Thread: written for the audit, after issue 19 of this project
"""

import numpy as np
import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 24), nn.SiLU(), nn.Linear(24, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
history: list[float] = []
weight, largest = 0.1, 0.0
for _ in range(4):
    x = torch.randn(16, 4, requires_grad=True)
    output = net(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    norms = np.linalg.norm(g.detach().numpy(), axis=1)
    history.append(float(norms.mean()))
    largest = max(largest, float(norms.max()))
    loss = output.square().mean() + weight * g.norm(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    weight = 0.1 / (1 + largest)
