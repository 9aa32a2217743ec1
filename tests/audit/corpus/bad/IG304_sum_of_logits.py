"""A smoothness penalty on a classifier that sums all its logits for the gradient, where the label's loss was meant.

Thread: kuc2477/pytorch-wgan-gp#1
"""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.adaptive_avg_pool2d(F.softplus(self.conv(x)), 4).flatten(1))


def train_epoch(model: nn.Module, batches, optimizer, lam: float = 0.05) -> None:
    model.train()
    for images, labels in batches:
        images = images.clone().requires_grad_(True)
        logits = model(images)
        grads = torch.autograd.grad(outputs=logits, inputs=images, grad_outputs=torch.ones_like(logits), create_graph=True)[0]  # expect: IG304 warning
        reg = grads.flatten(1).norm(2, dim=1).mean()
        loss = F.cross_entropy(logits, labels) + lam * reg
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


net = Net()
train_epoch(net, [(torch.randn(10, 1, 8, 8), torch.randint(4, (10,))) for _ in range(3)], torch.optim.SGD(net.parameters(), lr=0.05))
