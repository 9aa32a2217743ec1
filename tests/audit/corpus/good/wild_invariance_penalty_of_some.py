"""A penalty by one function for three environments, of which two are trained on.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters())


def pen(x, y):
    s = torch.ones(1, requires_grad=True)
    cost = F.binary_cross_entropy_with_logits(net(x) * s, y)
    g = torch.autograd.grad(cost, [s], create_graph=True)[0]
    return cost, (g**2).sum()


for i in range(4):
    out = [pen(torch.randn(16, 4), torch.rand(16, 1).round()) for e in range(3)]
    loss = sum(cost for cost, _ in out[:2]) / 2 + 10 * (out[0][1] + out[1][1])
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(out[2][1].item())
