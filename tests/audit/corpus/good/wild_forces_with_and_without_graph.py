"""A force field: one function with a graph in training and without in validation, errors printed.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())


def forces(pos, training):
    e = net(pos).sum()
    f = -torch.autograd.grad(e, pos, create_graph=training)[0]
    return e, f


for i in range(4):
    net.train()
    pos = torch.randn(10, 3, requires_grad=True)
    e, f = forces(pos, True)
    loss = 0.01 * (e - 1) ** 2 + F.l1_loss(f, torch.randn(10, 3))
    mae = (f.detach() - 1).abs().mean()
    rm = f.norm()
    opt.zero_grad()
    loss.backward()
    opt.step()
    net.eval()
    pv = torch.randn(10, 3, requires_grad=True)
    e, f = forces(pv, False)
    vl = (e - 1) ** 2 + F.l1_loss(f, torch.zeros(10, 3))
    print(vl.item(), mae.item(), rm.item())
