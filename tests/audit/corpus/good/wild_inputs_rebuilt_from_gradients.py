"""Inputs are rebuilt from parameter gradients by L-BFGS.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(6, 24), nn.Sigmoid(), nn.Linear(24, 3))
x = torch.randn(2, 6)
y = torch.tensor([0, 1])
tg = [g.detach() for g in torch.autograd.grad(F.cross_entropy(net(x), y), net.parameters())]
d = torch.randn(2, 6, requires_grad=True)
lab = torch.randn(2, 3, requires_grad=True)
opt = torch.optim.LBFGS([d, lab], max_iter=4)
for i in range(4):

    def closure():
        opt.zero_grad()
        cost = torch.mean(torch.sum(-F.softmax(lab, -1) * F.log_softmax(net(d), -1), 1))
        gs = torch.autograd.grad(cost, net.parameters(), create_graph=True)
        diff = sum(((a - b) ** 2).sum() for a, b in zip(gs, tg, strict=True))
        diff.backward()
        return diff

    opt.step(closure)
