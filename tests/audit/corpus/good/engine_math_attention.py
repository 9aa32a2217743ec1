"""A gradient penalty on a transformer under the attention that can be differentiated twice.

Thread: pytorch/pytorch#116350
"""

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

critic = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), nn.Flatten(), nn.Linear(96, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-4)
for _ in range(3):
    real, fake = torch.randn(8, 6, 16), torch.randn(8, 6, 16)
    alpha = torch.rand(8, 1, 1)
    x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):
        score = critic(x)
    (g,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    penalty = (g.flatten(1).norm(dim=1) - 1).square().mean()
    loss = critic(fake).mean() - critic(real).mean() + 10 * penalty  # fused attention serves the plain passes
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
