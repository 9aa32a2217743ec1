"""The input is moved through .data after the forward pass, and the loss of the old output is differentiated.

Thread: NVlabs/FUNIT#23
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    x, y = torch.randn(16, 6, requires_grad=True), torch.randint(3, (16,))
    output = model(x)
    loss = F.cross_entropy(output, y)
    (g,) = torch.autograd.grad(loss, x, retain_graph=True)
    x.data += 0.5 * g.sign()  # expect: IG907 error
    total = loss + F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    total.backward()
    optimizer.step()
