"""The norm of the input gradient is logged; it is read after the training backward and goes into no loss.

Thread: wandb/senpai#1436
"""

import torch
import torch.nn.functional as F
from torch import nn

model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
history: list[dict[str, float]] = []
running = 0.0
for _ in range(4):
    x, y = torch.randn(24, 6, requires_grad=True), torch.randint(4, (24,))
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    saliency = x.grad.norm(dim=1).mean()
    optimizer.step()
    running = 0.9 * running + 0.1 * saliency.item()
    history.append({"loss": loss.item(), "saliency": running, "total": loss.item() + saliency.item()})
print(history[-1])
