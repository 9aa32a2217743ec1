"""A Jacobian penalty whose rows are written into a buffer without their graph: the buffer is a constant.

Thread: vsitzmann/siren (shape of its helper functions, with the mistake planted)
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
        table[:, row, :] = torch.autograd.grad(output[:, row].sum(), x, retain_graph=True)[0]  # expect: IG101 error
    loss = (output - y).square().mean() + 0.1 * table.square().sum((1, 2)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
