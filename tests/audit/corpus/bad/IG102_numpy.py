"""The gradient makes a round trip by numpy, where a mask is put on it.

Thread: discuss.pytorch.org, topic 13409 (the same effect by another way)
"""

import numpy as np
import torch
from torch import nn

model = nn.Sequential(nn.Linear(6, 16), nn.Softplus(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
mask = np.array([1, 1, 0, 0, 1, 0], dtype=np.float32)
for _ in range(4):
    x, y = torch.randn(16, 6, requires_grad=True), torch.randn(16, 1)
    out = model(x)
    (g,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    array = g.detach().numpy()  # expect: IG102 error
    attribution = torch.from_numpy(array) * torch.from_numpy(mask)
    loss = (out - y).square().mean() + 0.1 * attribution.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
