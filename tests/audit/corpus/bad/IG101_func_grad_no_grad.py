"""The input gradient by torch.func.grad under no_grad, then in the loss: the term trains nothing.

Thread: pytorch/pytorch#128600
"""

import torch
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    with torch.no_grad():
        g = torch.func.grad(lambda inputs: model(inputs).sum())(x)  # expect: IG101 error
    loss = (model(x) - y).square().mean() + 0.1 * g.norm(dim=1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
