"""A path length penalty of its own, without create_graph: its grad_fn is None and the backward raises.

Thread: rosinality/stylegan2-pytorch#32
Raises: RuntimeError
"""

import torch
from torch import nn

generator = nn.Sequential(nn.Linear(4, 16), nn.LeakyReLU(0.2), nn.Linear(16, 8))
optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3)
mean_length = torch.zeros(())

for _ in range(4):
    latents = torch.randn(8, 4, requires_grad=True)
    images = generator(latents)
    noise = torch.randn_like(images)
    (grad,) = torch.autograd.grad((images * noise).sum(), latents)  # expect: IG101 error
    lengths = grad.square().sum(1).sqrt()
    mean_length = mean_length + 0.01 * (lengths.mean().detach() - mean_length)
    path_penalty = (lengths - mean_length).square().mean()
    optimizer.zero_grad()
    path_penalty.backward()
    optimizer.step()
