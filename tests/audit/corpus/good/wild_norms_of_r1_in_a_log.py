"""R1, and norms over the whole batch that go into a log.

Thread: none; written for the kind
"""

import torch
from torch import nn

d = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.LeakyReLU(), nn.Linear(16, 1))
opt = torch.optim.Adam(d.parameters())
log = []
for i in range(4):
    r = torch.randn(8, 3, 4, 4, requires_grad=True)
    f = torch.randn(8, 3, 4, 4)
    dr = d(r)
    g = torch.autograd.grad(dr.sum(), r, create_graph=True)[0]
    r1 = g.pow(2).reshape(8, -1).sum(1).mean()
    log.append(torch.linalg.vector_norm(g.detach()).item())
    log.append(float(g.pow(2).sum().sqrt()))
    m = g.norm(dim=1).max()
    log.append(m)
    loss = torch.nn.functional.softplus(-dr).mean() + torch.nn.functional.softplus(d(f)).mean() + 5 * r1
    opt.zero_grad()
    loss.backward()
    opt.step()
