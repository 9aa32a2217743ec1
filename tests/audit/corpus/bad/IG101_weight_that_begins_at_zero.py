"""A critic's penalty whose weight is zero in the first step.

Thread: none; written for the kind
"""

import torch
from torch import nn

D = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))
opt = torch.optim.Adam(D.parameters())
for i in range(4):
    x = torch.randn(16, 2, requires_grad=True)
    d = D(x)
    g = torch.autograd.grad(outputs=d, inputs=x, grad_outputs=torch.ones_like(d), retain_graph=True)[0]  # expect: IG101 error
    loss = -d.mean() + D(torch.randn(16, 2)).mean() + (10 if i else 0) * ((g.norm(2, 1) - 1) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
