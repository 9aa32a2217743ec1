"""A Laplacian as the sum of the columns of one gradient.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    X = torch.rand(32, 2, requires_grad=True)
    u = net(X)
    d = torch.autograd.grad(u, X, torch.ones_like(u), create_graph=True)[0]
    lap = torch.autograd.grad(d, X, torch.ones_like(d), create_graph=True)[0].sum(-1, keepdim=True)  # expect: IG305 error
    loss = torch.nn.functional.mse_loss(lap, u)
    opt.zero_grad()
    loss.backward()
    opt.step()
