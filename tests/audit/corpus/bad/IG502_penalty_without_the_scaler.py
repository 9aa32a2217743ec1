"""The penalty has a backward of its own that forgets the scaler; the step then divides both by the scale, and the penalty is gone.

Thread: pytorch/pytorch#25081
"""

import torch
import torch.nn.functional as F
from torch import nn


class Trainer:
    def __init__(self, weight: float = 10.0) -> None:
        self.critic = nn.Sequential(nn.Linear(5, 24), nn.SiLU(), nn.Linear(24, 1))
        self.optimizer = torch.optim.Adam(self.critic.parameters(), lr=1e-4)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        self.weight = weight

    def penalty(self, real: torch.Tensor) -> torch.Tensor:
        real = real.detach().requires_grad_(True)
        gradient = torch.autograd.grad(self.critic(real).sum(), real, create_graph=True)[0]
        return gradient.square().sum(1).mean()

    def step(self, real: torch.Tensor, fake: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.softplus(self.critic(fake)).mean() + F.softplus(-self.critic(real)).mean()
        self.scaler.scale(loss).backward()
        (self.weight / 2 * self.penalty(real)).backward()  # expect: IG502 error
        self.scaler.step(self.optimizer)
        self.scaler.update()


trainer = Trainer()
for _ in range(3):
    trainer.step(torch.randn(16, 5), torch.randn(16, 5) + 1)
