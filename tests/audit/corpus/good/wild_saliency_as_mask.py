"""Saliency masks the input of a second pass, beside a penalty that has its graph.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.rand(6, 1, 8, 8, requires_grad=True)
    y = torch.randint(3, (6,))
    o = net(x)
    (sal,) = torch.autograd.grad(F.log_softmax(o, 1).sum(), x, create_graph=True)
    m = torch.rand(6, 1, 8, 8).round()
    (s2,) = torch.autograd.grad(o.gather(1, y[:, None]).sum(), x, retain_graph=True)
    k = (s2.abs() > s2.abs().median()).float()
    s2n = (s2 - s2.amin()) / (s2.amax() - s2.amin() + 1e-8)
    loss = (
        F.cross_entropy(o, y)
        + (sal * m).square().sum() * 0.1
        + F.kl_div(F.log_softmax(net(x * k), 1), F.softmax(o, 1), reduction="batchmean")
        + F.cross_entropy(net(x.detach() * (1 - s2n) + 0.5 * s2n), y)
    )
    opt.zero_grad()
    loss.backward()
    opt.step()
