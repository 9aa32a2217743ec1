"""One norm of the whole batch, printed and taken too.

Thread: none; written for the kind
"""

import torch
from torch import nn

d = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
opt = torch.optim.Adam(d.parameters())
for i in range(4):
    r = torch.randn(8, 4, requires_grad=True)
    dr = d(r)
    g = torch.autograd.grad(dr.sum(), r, create_graph=True)[0]
    n = g.norm()  # expect: IG302 error
    print(n.item())
    loss = dr.mean() - d(torch.randn(8, 4)).mean() + 10 * (n - 1) ** 2
    opt.zero_grad()
    loss.backward()
    opt.step()
