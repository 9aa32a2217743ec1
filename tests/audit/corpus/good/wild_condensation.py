"""Images are trained so that their parameter gradients match those of the data (gradient matching).

Thread: written for the audit, after issue 19 of this project
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(4, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
images = torch.randn(6, 4, requires_grad=True)
labels = torch.arange(6) % 3
oi, on = torch.optim.SGD([images], 0.1), torch.optim.SGD(net.parameters(), 0.01)
for _ in range(4):
    x, y = torch.randn(32, 4), torch.randint(3, (32,))
    real = [g.detach() for g in torch.autograd.grad(F.cross_entropy(net(x), y), list(net.parameters()))]
    synth = torch.autograd.grad(F.cross_entropy(net(images), labels), list(net.parameters()), create_graph=True)
    distance = sum((a - b).pow(2).sum() for a, b in zip(real, synth, strict=True))
    oi.zero_grad()
    distance.backward()
    oi.step()
    on.zero_grad()
    F.cross_entropy(net(images.detach()), labels).backward()
    on.step()
