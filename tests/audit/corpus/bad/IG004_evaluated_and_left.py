"""The parts of the criterion go to the log, and the loss that is trained is another one.

Thread: this library, an issue on the audit of its own users
"""

import torch
from torch import nn

import inputgrad as ig

net = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
mse = nn.MSELoss()
criterion = mse + 0.5 * ig.GradientNorm(of="output")
for _ in range(3):
    x, y = torch.randn(8, 4), torch.randn(8, 1)
    optimizer.zero_grad()
    step = criterion.evaluate(net, x, y)  # expect: IG004 warning
    loss = mse(net(x), y)
    loss.backward()
    optimizer.step()
    print({name: float(part) for name, part in step.parts.items()})
