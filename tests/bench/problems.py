"""What the benchmark is tried on."""

import torch
from torch import nn


def small(*between: nn.Module) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.SiLU(), *between, nn.Linear(8, 3)), torch.randn(6, 4), torch.randint(3, (6,))
