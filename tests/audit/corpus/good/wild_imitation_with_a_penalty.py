"""Imitation learning: a penalty on the discriminator, and a policy that goes along the critic's gradient.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

pi = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2), nn.Tanh())
Q = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
Qt = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
D = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
op = torch.optim.Adam(pi.parameters())
oq = torch.optim.Adam(Q.parameters())
od = torch.optim.Adam(D.parameters())
for i in range(4):
    s, a, s2 = torch.randn(16, 3), torch.randn(16, 2), torch.randn(16, 3)
    e = torch.randn(16, 5)
    c = torch.cat([s, a], 1)
    al = torch.rand(16, 1).expand_as(e)
    m = (al * e + (1 - al) * c).requires_grad_()
    dm = D(m)
    g = torch.autograd.grad(dm, m, torch.ones(dm.size()), create_graph=True, retain_graph=True, only_inputs=True)[0]
    gp = 10 * (g.norm(2, dim=1) - 1).pow(2).mean()
    dl = F.binary_cross_entropy_with_logits(D(e), torch.ones(16, 1)) + F.binary_cross_entropy_with_logits(D(c), torch.zeros(16, 1))
    od.zero_grad()
    (dl + gp).backward()
    od.step()
    with torch.no_grad():
        r = -F.logsigmoid(-D(c))
        t = r + 0.99 * Qt(torch.cat([s2, pi(s2)], 1))
    oq.zero_grad()
    F.mse_loss(Q(c), t).backward()
    oq.step()
    act = pi(s)
    qa = Q(torch.cat([s, act], 1))
    dq = torch.autograd.grad(qa.mean(), act)[0]
    dq = torch.where(dq > 0, dq * (1 - act.detach()), dq * (act.detach() + 1))
    op.zero_grad()
    act.backward(-dq)
    op.step()
