"""bfloat16 has the range of float32, so a penalty and an attack under its autocast need no scaler.

Thread: pytorch/pytorch#44667
"""

import torch
import torch.nn.functional as F
from torch import nn


class Step:
    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(16, 48), nn.GELU(), nn.Linear(48, 4))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> None:
        x = x.requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            losses = F.cross_entropy(self.model(x), y, reduction="none")
        (g,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        adversarial = (x + 0.05 * g.sign()).detach()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            robust = F.cross_entropy(self.model(adversarial), y)
        loss = losses.mean() + robust + 0.1 * g.float().square().sum(1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


step = Step()
for _ in range(3):
    step(torch.randn(16, 16), torch.randint(4, (16,)))
