"""A critic's gradient moves actions and particles: constants in every loss.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

q = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, 1))
pi = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2))
oq = torch.optim.Adam(q.parameters())
op = torch.optim.Adam(pi.parameters())
for i in range(4):
    s = torch.randn(16, 3)
    a = pi(s)
    (dq,) = torch.autograd.grad(q(torch.cat([s, a], 1)).sum(), a, retain_graph=True)
    loss = F.mse_loss(a, (a + dq).detach()) - (dq * a).sum(1).mean() * 0.1
    op.zero_grad()
    loss.backward()
    op.step()
    with torch.no_grad():
        tgt = torch.randn(16, 1) + 0.9 * q(torch.cat([s, pi(s)], 1))
    lq = F.mse_loss(q(torch.cat([s, a.detach()], 1)), tgt)
    oq.zero_grad()
    lq.backward()
    oq.step()
    x = torch.randn(16, 5, requires_grad=True)
    (sc,) = torch.autograd.grad(-q(x).sum(), x)
    K = torch.exp(-(torch.cdist(x, x) ** 2))
    phi = ((K @ sc).detach() - torch.autograd.grad(K.sum(), x)[0]) / 16
    lq = q(x.detach() + 0.1 * phi).mean() - q(torch.randn(16, 5)).mean() + (x.detach() + 0.1 * phi).square().mean() * 0.1
    oq.zero_grad()
    lq.backward()
    oq.step()
