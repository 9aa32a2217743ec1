"""Invariance penalty in an algorithm's class: gradients without a graph, kept in a dictionary of losses that is summed.

Thread: facebookresearch/DomainBed#50
"""

import torch
import torch.nn.functional as F
from torch import nn


class Algorithm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3))
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-3)

    def sensitivity(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        loss = F.cross_entropy(self.network(x), y, reduction="sum")
        return torch.autograd.grad(loss, [x])[0]  # expect: IG101 error

    def update(self, domains: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
        losses = {"task": sum(F.cross_entropy(self.network(x), y) for x, y in domains)}
        per_domain = torch.stack([self.sensitivity(x, y) for x, y in domains])
        losses["penalty"] = 5.0 * per_domain.pow(2).sum(-1).mean()
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        self.optimizer.step()
        return {name: value.item() for name, value in losses.items()}


algorithm = Algorithm()
for _ in range(4):
    print(algorithm.update([(torch.randn(8, 5), torch.randint(3, (8,))) for _ in range(2)]))
