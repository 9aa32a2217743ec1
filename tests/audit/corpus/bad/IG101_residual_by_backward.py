"""A decay whose derivative is read from .grad, compared with the output by mse_loss.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

m = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(m.parameters())
for i in range(4):
    t = torch.rand(32, 1, requires_grad=True)
    opt.zero_grad()
    u = m(t)
    u.sum().backward(retain_graph=True)  # expect: IG101 error
    dudt = t.grad.clone()
    opt.zero_grad()
    loss = F.mse_loss(dudt, -u) + (m(torch.zeros(1, 1)) - 1).pow(2).sum()
    loss.backward()
    opt.step()
