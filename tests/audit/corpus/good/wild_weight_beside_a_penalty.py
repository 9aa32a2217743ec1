"""A norm that weighs samples beside a penalty with its graph, sample by sample.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.randn(16, 4, requires_grad=True)
    target = torch.randn(16, 1)
    out = net(x)
    (constant,) = torch.autograd.grad(out.sum(), x, retain_graph=True)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    weights = constant.norm(dim=1, keepdim=True) / constant.norm(dim=1).mean()
    loss = (weights * (out - target).square() + 0.1 * slope.square().sum(1, keepdim=True)).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
