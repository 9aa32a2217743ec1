"""A small network learns to predict the gradient of a loss in the features: the true gradient is its target, a constant.

Thread: ashawkey/stable-dreamfusion#335 (a gradient as a constant on purpose)
"""

import torch
import torch.nn.functional as F
from torch import nn

body, head, predictor = nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 3), nn.Linear(8, 8)
optimizer = torch.optim.Adam([*body.parameters(), *head.parameters(), *predictor.parameters()], lr=1e-3)
for _ in range(4):
    x, y = torch.randn(16, 6), torch.randint(3, (16,))
    hidden = body(x)
    feature = hidden.detach().requires_grad_(True)
    losses = F.cross_entropy(head(feature), y, reduction="none")
    (true,) = torch.autograd.grad(losses.sum(), feature, retain_graph=True)
    guess = predictor(feature.detach())
    loss = losses.mean() + F.mse_loss(guess, true) + F.cross_entropy(head(hidden), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
