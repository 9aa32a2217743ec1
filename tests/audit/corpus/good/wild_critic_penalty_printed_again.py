"""WGAN-GP in the usual form; the penalty is taken once more to be printed.

Thread: none; written for the kind
"""

import torch
from torch import autograd, nn

G = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
D = nn.Sequential(nn.Linear(2, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1))
oG = torch.optim.Adam(G.parameters())
oD = torch.optim.Adam(D.parameters())


def gp(D, r, f):
    a = torch.rand(r.size(0), 1)
    it = (a * r + (1 - a) * f).requires_grad_(True)
    d = D(it)
    fake = torch.ones(r.size(0), 1)
    g = autograd.grad(outputs=d, inputs=it, grad_outputs=fake, create_graph=True, retain_graph=True, only_inputs=True)[0]
    g = g.view(g.size(0), -1)
    return ((g.norm(2, dim=1) - 1) ** 2).mean()


for i in range(4):
    r = torch.randn(16, 2)
    z = torch.randn(16, 4)
    f = G(z)
    pen = gp(D, r.data, f.data)
    dl = -D(r).mean() + D(f.detach()).mean() + 10 * pen
    oD.zero_grad()
    dl.backward()
    oD.step()
    gl = -D(G(z)).mean()
    oG.zero_grad()
    gl.backward()
    oG.step()
    print(gp(D, r, f.detach()).item(), pen.item())
