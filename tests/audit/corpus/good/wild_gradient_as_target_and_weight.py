"""The gradient at the clean input is a target for the one at the noisy input, and its norm weighs the samples.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.randn(16, 8, requires_grad=True)
    y = torch.randint(3, (16,))
    cost = F.cross_entropy(net(x), y, reduction="none")
    (c,) = torch.autograd.grad(cost.sum(), x, retain_graph=True)
    w = torch.softmax(c.norm(dim=1), 0) * 16
    xn = (x.detach() + 0.1 * torch.randn_like(x)).requires_grad_()
    (n,) = torch.autograd.grad(F.cross_entropy(net(xn), y, reduction="sum"), xn, create_graph=True)
    loss = (w * cost).mean() + (n - c).square().sum(1).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
