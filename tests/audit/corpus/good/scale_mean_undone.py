"""The gradient of the mean loss, multiplied by the batch size: the mean is undone, and each row is the sample's own.

Thread: alexrame/fishr#2
"""

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.featurizer, self.classifier = nn.Sequential(nn.Linear(10, 16), nn.Tanh()), nn.Linear(16, 3)
        self.loss = nn.CrossEntropyLoss()

    def update(self, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
        x.requires_grad_()
        loss = self.loss(self.classifier(self.featurizer(x)), y)
        gradients = torch.autograd.grad(loss, x, create_graph=True)[0] * x.size(0)
        variance = (gradients - gradients.mean(dim=0, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        (loss + 0.5 * variance).backward()
        optimizer.step()
        return loss.item()


model = Model()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    model.update(optimizer, torch.randn(20, 10), torch.randint(3, (20,)))
