"""A helper makes a saliency map by numpy, and the loss is taken of what it returns.

Thread: discuss.pytorch.org, topic 13409 (the same effect by another way)
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def saliency(output, x, y):
    (g,) = torch.autograd.grad(output.gather(1, y[:, None]).sum(), x, create_graph=True)
    found = np.abs(g.detach().numpy())  # expect: IG102 error
    found = found / (found.max(1, keepdims=True) + 1e-8)
    return torch.from_numpy(found)


def loss_of(model, x, y, mask):
    output = model(x)
    reasons = F.binary_cross_entropy(saliency(output, x, y), mask)
    return F.cross_entropy(output, y) + 0.5 * reasons


model = nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y, mask = torch.randn(16, 6, requires_grad=True), torch.randint(3, (16,)), torch.rand(16, 6).round()
    optimizer.zero_grad()
    loss = loss_of(model, x, y, mask)
    loss.backward()
    optimizer.step()
