"""A decay whose derivative comes from a pass of its own, without a graph.

Thread: none; written for the kind
"""

import torch
from torch import nn


class M(nn.Module):
    def __init__(s):
        super().__init__()
        s.n = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(s, t):
        return s.n(t)

    def d(s, t):
        t.requires_grad_(True)
        y = s(t)
        return torch.autograd.grad(y.sum(), t)[0]  # expect: IG101 error


m = M()
opt = torch.optim.Adam(m.parameters())
for i in range(4):
    t = torch.linspace(0, 1, 32)[:, None]
    res = m.d(t) + 2 * m(t)
    loss = res.abs().mean() + (m(torch.zeros(1, 1)) - 1).pow(2).sum()
    opt.zero_grad()
    loss.backward()
    opt.step()
