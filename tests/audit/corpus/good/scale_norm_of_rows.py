"""``norm(dim=1)`` of a gradient with two dimensions is each sample's norm; the hinge leaves small ones alone.

Thread: igul222/improved_wgan_training#18
"""

import torch
import torch.nn.functional as F
from torch import nn

critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
for _ in range(3):
    real, fake = torch.randn(64, 2), torch.randn(64, 2) + 2
    points = torch.cat([real, fake]).requires_grad_()
    scores = critic(points)
    (gradient,) = torch.autograd.grad(scores, points, torch.ones_like(scores), create_graph=True)
    above = F.relu(gradient.norm(dim=1) - 1).square().mean()
    loss = scores[64:].mean() - scores[:64].mean() + 10 * above
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
