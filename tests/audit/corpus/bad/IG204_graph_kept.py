"""backward(create_graph=True) in a loop, with the gradients emptied by p.grad.data.zero_(), which keeps their graph.

Thread: pytorch/pytorch#4661
"""

import torch
from torch import nn

critic = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(critic.parameters(), lr=0.01)
for _ in range(4):
    x = torch.randn(16, 4, requires_grad=True)
    score = critic(x)
    score.sum().backward(create_graph=True)  # expect: IG204 warning
    penalty = (x.grad.norm(dim=1) - 1).square().mean()
    for parameter in critic.parameters():
        if parameter.grad is not None:
            parameter.grad.data.zero_()
    (score.square().mean() + penalty).backward()
    optimizer.step()
    for parameter in critic.parameters():
        parameter.grad.data.zero_()
