"""A policy gradient with a control variate that is made of the critic's gradient by the action.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

pi = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
V = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
Q = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1))
opt = torch.optim.Adam([*pi.parameters(), *V.parameters(), *Q.parameters()])
for i in range(4):
    s = torch.randn(16, 3)
    mu = pi(s)
    a = (mu + torch.randn_like(mu)).detach().requires_grad_()
    q = Q(torch.cat([s, a], 1))
    (ga,) = torch.autograd.grad(q.sum(), a, retain_graph=True)
    lp = -0.5 * ((a.detach() - mu) ** 2).sum(1)
    R = torch.randn(16)
    adv = R - q.detach().squeeze(1) - (ga * (a - mu)).sum(1).detach()
    loss = -(lp * adv).mean() - (ga * mu).sum(1).mean() + F.mse_loss(q.squeeze(1), R) + F.mse_loss(V(s).squeeze(1), R + 0.9 * V(s + 0.1).squeeze(1).detach())
    opt.zero_grad()
    loss.backward()
    opt.step()
