"""The sign method with evaluation mode for the attack and training mode for the step.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 10))
opt = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
for i in range(4):
    x, y = torch.rand(16, 1, 8, 8), torch.randint(10, (16,))
    net.eval()
    x.requires_grad = True
    loss = F.cross_entropy(net(x), y)
    net.zero_grad()
    loss.backward()
    adv = torch.clamp(x + 0.1 * x.grad.data.sign(), 0, 1).detach()
    net.train()
    opt.zero_grad()
    cost = 0.5 * F.cross_entropy(net(x.detach()), y) + 0.5 * F.cross_entropy(net(adv), y)
    cost.backward()
    opt.step()
