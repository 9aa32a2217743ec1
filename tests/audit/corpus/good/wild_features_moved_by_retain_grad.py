"""Features are moved along their own gradient, which retain_grad kept.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

e = nn.Sequential(nn.Linear(6, 8), nn.ReLU())
h = nn.Linear(8, 3)
opt = torch.optim.SGD([*e.parameters(), *h.parameters()], 0.1)
for i in range(4):
    x = torch.randn(12, 6)
    y = torch.randint(3, (12,))
    z = e(x)
    z.retain_grad()
    loss = F.cross_entropy(h(z), y)
    loss.backward(retain_graph=True)
    d = 0.1 * z.grad.sign()
    opt.zero_grad()
    l2 = F.cross_entropy(h(z + d), y)
    l2.backward()
    opt.step()
