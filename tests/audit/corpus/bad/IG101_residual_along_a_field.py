"""A value function along a vector field, its gradient without a graph.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

V = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(V.parameters())
for i in range(4):
    s = torch.randn(32, 3, requires_grad=True)
    f = torch.randn(32, 3)
    v = V(s).squeeze(-1)
    (vx,) = torch.autograd.grad(v.sum(), s, retain_graph=True)  # expect: IG101 error
    delta = (vx * f).sum(-1) - 0.5 * v + s.detach().square().sum(-1)
    loss = F.smooth_l1_loss(delta, torch.zeros(32))
    opt.zero_grad()
    loss.backward()
    opt.step()
