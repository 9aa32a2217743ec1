"""A penalty on the gradient in the features, kept by retain_grad.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

e = nn.Sequential(nn.Linear(4, 16), nn.Tanh())
h = nn.Linear(16, 3)
opt = torch.optim.Adam([*e.parameters(), *h.parameters()])
for i in range(4):
    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    z = e(x)
    z.retain_grad()
    cost = F.cross_entropy(h(z), y)
    cost.backward(retain_graph=True)  # expect: IG101 error
    p = z.grad.norm(dim=1).mean()
    opt.zero_grad()
    (cost + 0.1 * p).backward()
    opt.step()
