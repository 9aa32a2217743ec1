"""Virtual adversarial training with the same dropout masks in every pass of a step: the generator's state is put back before each.

Thread: enricivi/adversarial_training_methods#4
"""

import torch
import torch.nn.functional as F
from torch import nn


class VirtualAdversarialLoss(nn.Module):
    def __init__(self, xi: float = 1e-2, eps: float = 0.5) -> None:
        super().__init__()
        self.xi, self.eps = xi, eps

    def forward(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        d = F.normalize(torch.randn_like(x), dim=1).requires_grad_()
        state = torch.get_rng_state()

        def logits(value: torch.Tensor) -> torch.Tensor:
            torch.set_rng_state(state)
            return model(value)

        clean = logits(x).softmax(1).detach()
        divergence = F.kl_div(logits(x + self.xi * d).log_softmax(1), clean, reduction="batchmean")
        r = self.eps * F.normalize(torch.autograd.grad(divergence, d)[0], dim=1)
        return F.kl_div(logits(x + r).log_softmax(1), clean, reduction="batchmean")


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 4))
    optimizer, vat = torch.optim.Adam(model.parameters()), VirtualAdversarialLoss()
    for _ in range(3):
        x = torch.randn(20, 10)
        loss = vat(model, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
