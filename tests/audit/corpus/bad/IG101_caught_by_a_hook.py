"""R1 on a gradient that a hook caught.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

D = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
opt = torch.optim.Adam(D.parameters())
box = {}
for i in range(4):
    x = torch.randn(8, 4, requires_grad=True)
    x.register_hook(lambda g: box.update(g=g))
    d = D(x)
    d.sum().backward(retain_graph=True)  # expect: IG101 error
    opt.zero_grad()
    loss = F.softplus(-d).mean() + 5 * box["g"].square().sum(1).mean()
    loss.backward()
    opt.step()
