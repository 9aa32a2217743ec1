"""A head learns to predict the saliency of the same network: the saliency is a label.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

trunk = nn.Sequential(nn.Linear(8, 32), nn.Tanh())
head = nn.Linear(32, 3)
att = nn.Linear(32, 8)
opt = torch.optim.Adam([*trunk.parameters(), *head.parameters(), *att.parameters()])
for i in range(4):
    x = torch.randn(16, 8, requires_grad=True)
    y = torch.randint(3, (16,))
    h = trunk(x)
    lo = head(h)
    (s,) = torch.autograd.grad(lo.gather(1, y[:, None]).sum(), x, retain_graph=True)
    s = s.abs() / s.abs().max()
    loss = F.cross_entropy(lo, y) + (att(h).sigmoid() - s).square().mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
