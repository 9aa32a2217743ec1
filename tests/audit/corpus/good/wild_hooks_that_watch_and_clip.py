"""Hooks on features that watch the gradient and clip it.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

encoder = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
head = nn.Linear(12, 3)
opt = torch.optim.SGD([*encoder.parameters(), *head.parameters()], 0.1)
norms = []
for i in range(4):
    x, y = torch.randn(10, 6), torch.randint(3, (10,))
    hidden = encoder(x)
    hidden.register_hook(lambda gradient: norms.append(gradient.norm()))
    hidden.register_hook(lambda gradient: gradient.clamp(-1, 1))
    loss = F.cross_entropy(head(hidden), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(norms[-1].item())
