"""Data distillation: synthetic inputs are trained through an inner step of the network, whose graph is kept.

Thread: prolearner/hypertorch#3
"""

import torch
import torch.nn.functional as F

inputs = torch.randn(10, 4, requires_grad=True)
labels = torch.arange(10) % 2
optimizer = torch.optim.Adam([inputs], lr=0.1)
for _ in range(3):
    weight = (0.1 * torch.randn(2, 4)).requires_grad_(True)
    inner = F.cross_entropy(F.linear(inputs, weight), labels)
    (g,) = torch.autograd.grad(inner, weight, create_graph=True)
    stepped = weight - 0.5 * g
    x, y = torch.randn(32, 4), torch.randint(2, (32,))
    optimizer.zero_grad()
    F.cross_entropy(F.linear(x, stepped), y).backward()
    optimizer.step()
