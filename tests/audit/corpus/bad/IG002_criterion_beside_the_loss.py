"""The criterion is made and printed, and the plain loss is trained.

Thread: this library, an issue on the audit of its own users
"""

import torch
from torch import nn

import inputgrad as ig


class Trainer:
    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 1))
        self.plain = nn.MSELoss()
        self.regularised = self.plain + 0.1 * ig.GradientNorm(of="output")  # expect: IG002 warning
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        print("criterion:", self.regularised)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        self.plain(self.net(x), y).backward()
        self.optimizer.step()


trainer = Trainer()
for _ in range(3):
    trainer.step(torch.randn(8, 4), torch.randn(8, 1))
