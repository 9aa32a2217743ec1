"""The gradient is asked of a clone that the model never saw.

Thread: archinetai/smart-pytorch#5
Raises: RuntimeError
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters())
for _ in range(4):
    x, y = torch.randn(8, 4, requires_grad=True), torch.randn(8, 1)
    noise = x.clone() + 1e-3 * torch.randn_like(x)
    out = model(x)
    (g,) = torch.autograd.grad(out.sum(), noise, create_graph=True)  # expect: IG104 error
    loss = nn.functional.mse_loss(out, y) + g.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
