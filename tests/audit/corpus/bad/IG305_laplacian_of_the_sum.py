"""The heat equation in two dimensions, with the derivative of the sum of all first derivatives.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    X = torch.rand(32, 3, requires_grad=True)
    u = net(X)
    g = torch.autograd.grad(u.sum(), X, create_graph=True)[0]
    H = torch.autograd.grad(g.sum(), X, create_graph=True)[0]  # expect: IG305 error
    lap = H[:, :2].sum(dim=1, keepdim=True)
    ut = g[:, 2:3]
    loss = ((ut - 0.1 * lap) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
