"""A classifier as an energy: samples from a buffer, squared energies and squared samples in the loss.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(6, 32), nn.LeakyReLU(0.2), nn.Linear(32, 4))
opt = torch.optim.Adam(net.parameters())
buf = torch.rand(100, 6) * 2 - 1


def sample(n=16):
    idx = torch.randint(0, 100, (n,))
    init = buf[idx]
    re = (torch.rand(n) < 0.05).float()[:, None]
    xk = torch.autograd.Variable(re * (torch.rand(n, 6) * 2 - 1) + (1 - re) * init, requires_grad=True)
    for k in range(5):
        fp = torch.autograd.grad(net(xk).logsumexp(1).sum(), [xk], retain_graph=True)[0]
        xk.data += 1.0 * fp + 0.01 * torch.randn_like(xk)
    fin = xk.detach()
    buf[idx] = fin.cpu()
    return fin


for i in range(4):
    x = torch.rand(16, 6) * 2 - 1
    y = torch.randint(4, (16,))
    xq = sample()
    fp, fq = net(x).logsumexp(1), net(xq).logsumexp(1)
    loss = (
        -(fp.mean() - fq.mean())
        + F.cross_entropy(net(x), y)
        + 0.1 * (fp**2 + fq**2).mean()
        + 1e-3 * (x.square().sum(1) - xq.square().sum(1) + fp).square().mean()
    )
    opt.zero_grad()
    loss.backward()
    opt.step()
