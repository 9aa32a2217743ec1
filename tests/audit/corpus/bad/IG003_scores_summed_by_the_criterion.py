"""Double backpropagation of the sum of the class scores, which nobody meant.

Thread: this library, an issue on the audit of its own users
"""

import torch
from torch import nn

import inputgrad as ig

net = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
criterion = ig.InputGradientLoss("cross_entropy", [0.1 * ig.GradientNorm(of="output", power=2)])
for _ in range(3):
    x, y = torch.randn(8, 4), torch.randint(3, (8,))
    optimizer.zero_grad()
    criterion.backward(net, x, y)  # expect: IG003 warning
    optimizer.step()
