"""Norms of the input gradient are taken by numpy and come back as a tensor.

Thread: written for the audit, after issue 19 of this project
"""

import numpy as np
import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 1))
opt = torch.optim.SGD(net.parameters(), 0.1)
for _ in range(3):
    x = torch.randn(16, 4, requires_grad=True)
    out = net(x)
    g = torch.autograd.grad(out.sum(), x, create_graph=True)[0]
    norms = np.linalg.norm(g.detach().numpy(), axis=1)  # expect: IG102 error
    loss = out.pow(2).mean() + 0.1 * torch.from_numpy(norms).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
