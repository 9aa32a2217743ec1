"""FGSM with create_graph=True: the sign's derivative is zero, so the graph is kept and gone through for nothing.

Thread: NVIDIA/nvalchemi-toolkit#173
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    x, y = torch.randn(16, 8, requires_grad=True), torch.randint(3, (16,))
    loss = F.cross_entropy(model(x), y)
    (g,) = torch.autograd.grad(loss, x, create_graph=True)  # expect: IG910 note
    loss = loss + F.cross_entropy(model(x + 0.1 * g.sign()), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
