"""A gradient penalty on a transformer whose attention is fused: the backward pass raises.

Thread: pytorch/pytorch#116350
Raises: RuntimeError
"""

import torch
from torch import nn

critic = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(96, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
for _ in range(3):
    real, fake = torch.randn(8, 6, 16), torch.randn(8, 6, 16)
    alpha = torch.rand(8, 1, 1)
    x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    (g,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    penalty = (g.flatten(1).norm(dim=1) - 1).square().mean()
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
    optimizer.zero_grad()
    loss.backward()  # expect: IG601 error
    optimizer.step()
