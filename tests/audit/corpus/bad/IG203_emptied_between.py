"""zero_grad stands between the penalty's backward and the loss's.

Thread: cloneofsimo/lora#263
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(5):
    x, y = torch.randn(16, 4, requires_grad=True), torch.randn(16, 1)
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    penalty = 0.1 * g.square().sum(1).mean()
    penalty.backward()
    optimizer.zero_grad()  # expect: IG203 error
    loss = nn.functional.mse_loss(model(x.detach()), y)
    loss.backward()
    optimizer.step()
