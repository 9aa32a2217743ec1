"""The Jacobian is told to require a gradient after the fact, which silences autograd and connects nothing.

Thread: discuss.pytorch.org, topic 174151, "Input-output Jacobian difference as loss"
"""

import torch
from torch import nn

teacher = nn.Linear(5, 1)
student = nn.Sequential(nn.Linear(5, 10), nn.Tanh(), nn.Linear(10, 1))
optimizer = torch.optim.SGD(student.parameters(), lr=0.05)

for _ in range(4):
    x = torch.randn(12, 5, requires_grad=True)
    output = student(x)
    (jacobian,) = torch.autograd.grad(output.sum(), x, retain_graph=True)  # expect: IG101 error
    jacobian.requires_grad = True
    difference = (jacobian - teacher.weight.detach()).square().mean()
    loss = nn.functional.mse_loss(output, teacher(x).detach()) + difference
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
