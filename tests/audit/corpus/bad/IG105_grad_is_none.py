"""x.grad is read of an input that requires none.

Thread: rosinality/style-based-gan-pytorch#84
Raises: AttributeError
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.Adam(model.parameters())
for x, y in [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]:
    out = model(x)
    out.sum().backward(retain_graph=True)
    g = x.grad.clone()  # expect: IG105 error
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(out, y) + 0.01 * g.norm()
    loss.backward()
    optimizer.step()
