"""The input gradient by torch.func.grad carries its graph without being asked, and is detached before it goes into the loss.

Thread: pytorch/pytorch#88851
"""

import torch
from torch import nn
from torch.func import grad

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    g = grad(lambda inputs: model(inputs).sum())(x).detach()  # expect: IG102 error
    loss = (model(x) - y).square().mean() + 0.1 * g.norm(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
