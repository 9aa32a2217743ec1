"""Adversarial training with a perturbation that is written into .data.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
opt = torch.optim.SGD(net.parameters(), 0.1)
for i in range(4):
    x, y = torch.rand(16, 8), torch.randint(3, (16,))
    delta = torch.zeros_like(x).uniform_(-0.1, 0.1).requires_grad_(True)
    for k in range(3):
        cost = F.cross_entropy(net(x + delta), y)
        cost.backward()
        delta.data = (delta + 0.05 * delta.grad.detach().sign()).clamp(-0.1, 0.1)
        delta.grad.zero_()
    delta = delta.detach()
    opt.zero_grad()
    loss = F.cross_entropy(net((x + delta).clamp(0, 1)), y) + 0.1 * F.kl_div(F.log_softmax(net(x + delta), 1), F.softmax(net(x), 1), reduction="batchmean")
    loss.backward()
    opt.step()
