"""The samples' norms put together by torch.tensor.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.randn(8, 4, requires_grad=True)
    out = net(x)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    pen = torch.tensor([row.norm() for row in g])  # expect: IG102 error
    loss = (out - 1).square().mean() + 0.1 * pen.mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
