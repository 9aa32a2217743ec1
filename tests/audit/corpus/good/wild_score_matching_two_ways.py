"""Score matching, sliced and by the exact trace.

Thread: none; written for the kind
"""

import torch
from torch import nn

s = nn.Sequential(nn.Linear(2, 32), nn.Softplus(), nn.Linear(32, 2))
opt = torch.optim.Adam(s.parameters())
for i in range(4):
    x = torch.randn(32, 2, requires_grad=True)
    v = torch.randn_like(x)
    sc = s(x)
    sv = (sc * v).sum()
    gv = torch.autograd.grad(sv, x, create_graph=True)[0]
    l1 = ((v * gv).sum(1) + 0.5 * (sc * v).sum(1) ** 2).mean()
    tr = sum(torch.autograd.grad(sc[:, k].sum(), x, create_graph=True)[0][:, k] for k in range(2))
    l2 = (tr + 0.5 * sc.square().sum(1)).mean()
    loss = l1 + l2
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(gv.norm().item())
