"""TRADES: a divergence between the outputs at the input and at a point found by projected steps.

Thread: locuslab/convex_adversarial#34
"""

import torch
import torch.nn.functional as F
from torch import nn


def trades_loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor, step: float, epsilon: float, steps: int, beta: float) -> torch.Tensor:
    divergence = nn.KLDivLoss(reduction="sum")
    model.eval()
    adversarial = x.detach() + 0.001 * torch.randn(x.shape)
    for _ in range(steps):
        adversarial.requires_grad_()
        with torch.enable_grad():
            loss = divergence(F.log_softmax(model(adversarial), dim=1), F.softmax(model(x), dim=1))
        grad = torch.autograd.grad(loss, [adversarial])[0]
        adversarial = adversarial.detach() + step * torch.sign(grad.detach())
        adversarial = torch.min(torch.max(adversarial, x - epsilon), x + epsilon).clamp(0.0, 1.0)
    model.train()
    logits = model(x)
    robust = divergence(F.log_softmax(model(adversarial.detach()), dim=1), F.softmax(logits, dim=1)) / len(x)
    return F.cross_entropy(logits, y) + beta * robust


model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
for _ in range(3):
    x, y = torch.rand(16, 1, 8, 8), torch.randint(10, (16,))
    model.train()
    optimizer.zero_grad()
    trades_loss(model, x, y, 0.01, 0.03, 3, 6.0).backward()
    optimizer.step()
