"""Double backpropagation from a mean cross entropy: the squared gradient of each sample carries 1/N², and the weight was tuned at one batch size.

Thread: pytorch/pytorch#7714
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WEIGHT = 0.1


def step(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    x = x.requires_grad_(True)
    classification = F.cross_entropy(model(x), y)
    (g,) = torch.autograd.grad(classification, [x], create_graph=True)  # expect: IG301 warning
    return classification + WEIGHT * g.pow(2).flatten(1).sum(dim=1).mean()


if __name__ == "__main__":
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Softplus(), nn.Linear(32, 5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(5, (64,))), batch_size=16, shuffle=True)
    for x, y in loader:
        optimizer.zero_grad()
        step(model, x, y).backward()
        optimizer.step()
