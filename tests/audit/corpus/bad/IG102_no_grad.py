"""The penalty is computed under no_grad, to save memory.

Thread: ACEsuit/mace#83 (a path to the loss cut inside the model)
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(16, 6, requires_grad=True), torch.randn(16, 1)
    out = model(x)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    with torch.no_grad():
        smoothness = g.square().sum(1).mean()  # expect: IG102 error
    total = (out - y).square().mean()
    total += 0.05 * smoothness
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
