"""A second derivative of a model that is linear in its input: the first one does not depend on the input at all.

Thread: torchmd/torchmd-net#331
Raises: RuntimeError
"""

import torch
from torch import nn

model = nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(4):
    x = torch.rand(16, 2, requires_grad=True)
    u = model(x)
    (u_x,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (u_xx,) = torch.autograd.grad(u_x[:, 0].sum(), x, create_graph=True)  # expect: IG104 error
    loss = (u_xx - 1).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
