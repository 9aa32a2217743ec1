"""backward(create_graph=True) used with care: the parameters' gradients are set to None before the loss goes back.

Thread: pytorch/pytorch#4661
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(32, 4, requires_grad=True), torch.randn(32, 1)
    output = model(x)
    output.sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    loss = nn.functional.mse_loss(output, y) + 0.1 * g.norm(dim=1).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
