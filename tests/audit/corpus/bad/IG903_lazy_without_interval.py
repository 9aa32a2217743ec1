"""R1 at every second step, with the weight that it would have at each.

Thread: labmlai/annotated_deep_learning_paper_implementations#161
"""

import torch
import torch.nn.functional as F
from torch import nn

critic = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
gamma, interval = 5.0, 2
for step in range(6):
    real, fake = torch.randn(16, 2, requires_grad=True), torch.randn(16, 2) + 1
    scores = critic(real)
    loss = F.softplus(-scores).mean() + F.softplus(critic(fake)).mean()
    if step % interval == 0:
        (g,) = torch.autograd.grad(scores.sum(), real, create_graph=True)  # expect: IG903 note
        loss = loss + gamma * g.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
