"""A generator with lazy R1 and lazy path length, their weights multiplied by the interval.

Thread: none; written for the kind
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

G = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Linear(32, 48))
D = nn.Sequential(nn.Linear(48, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
og = torch.optim.Adam(G.parameters(), betas=(0.0, 0.99))
od = torch.optim.Adam(D.parameters(), betas=(0.0, 0.99))
mean = 0


def req(m, f):
    for p in m.parameters():
        p.requires_grad = f


for i in range(4):
    req(G, False)
    req(D, True)
    r = torch.randn(8, 48)
    f = G(torch.randn(8, 8))
    dl = F.softplus(D(f)).mean() + F.softplus(-D(r)).mean()
    D.zero_grad()
    dl.backward()
    od.step()
    if i % 2 == 0:
        r.requires_grad = True
        rp = D(r)
        (g,) = torch.autograd.grad(rp.sum(), r, create_graph=True)
        r1 = g.pow(2).reshape(8, -1).sum(1).mean()
        D.zero_grad()
        (10 / 2 * r1 * 2 + 0 * rp[0]).sum().backward()
        od.step()
    req(G, True)
    req(D, False)
    f = G(torch.randn(8, 8))
    gl = F.softplus(-D(f)).mean()
    G.zero_grad()
    gl.backward()
    og.step()
    if i % 2 == 0:
        z = torch.randn(8, 8, requires_grad=True)
        im = G(z)
        n = torch.randn_like(im) / math.sqrt(48)
        (g,) = torch.autograd.grad((im * n).sum(), z, create_graph=True)
        L = g.pow(2).sum(1).sqrt()
        pm = mean + 0.01 * (L.mean() - mean)
        pp = (L - pm).pow(2).mean()
        mean = pm.detach()
        G.zero_grad()
        (2 * 2 * pp + 0 * im[0, 0]).backward()
        og.step()
