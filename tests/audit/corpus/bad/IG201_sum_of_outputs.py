"""The gradient's graph is there, but zero_grad stands at the top: the update also goes along the sum of the outputs.

Thread: discuss.pytorch.org, topic 62771, "How to penalize the norm of an end-to-end Jacobian"
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(32, 4, requires_grad=True), torch.randn(32, 1)
    optimizer.zero_grad()
    output = model(x)
    output.backward(torch.ones_like(output), create_graph=True)  # expect: IG201 error
    penalty = x.grad.norm(dim=1).mean()
    loss = nn.functional.mse_loss(output, y) + 0.1 * penalty
    loss.backward()
    optimizer.step()
