"""The rows of a Jacobian are collected with their graph, its norm is computed, and the loss goes without it.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

for _ in range(4):
    x, y = torch.randn(32, 3, requires_grad=True), torch.randn(32, 2)
    output = net(x)
    table = torch.zeros(32, 2, 3)
    for row in range(2):
        table[:, row] = torch.autograd.grad(output[:, row].sum(), x, create_graph=True)[0]  # expect: IG904 warning
    smoothness = table.square().sum((1, 2)).mean()
    loss = (output - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
