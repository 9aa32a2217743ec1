"""A penalty on each sample's norm; norms over channels and over the batch are watched.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 36, 1))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    images = torch.rand(6, 3, 8, 8, requires_grad=True)
    score = net(images)
    (g,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    watched = {"channels": g.norm(dim=1).mean(), "batch": g.norm(), "smallest": g.flatten(1).norm(dim=1).min().detach()}
    penalty = (g.flatten(1).norm(dim=1) - 1).square().mean()
    loss = score.square().mean() + penalty
    opt.zero_grad()
    loss.backward()
    opt.step()
    print({key: f"{value:.3f}" for key, value in watched.items()})
