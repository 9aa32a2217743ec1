"""The gradient of the sum of the softmax: the sum is one whatever the input, so the gradient is zero.

Thread: LMescheder/GAN_stability#10
"""

import torch
from torch import nn


def saliency_penalty(probabilities: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    saliency = torch.autograd.grad(probabilities.sum(), x, create_graph=True)[0]  # expect: IG304 error
    return saliency.abs().sum(dim=1).mean()


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 6), nn.Softmax(dim=1))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        x, y = torch.randn(20, 12, requires_grad=True), torch.randint(6, (20,))
        p = model(x)
        loss = nn.functional.nll_loss(torch.log(p + 1e-8), y) + 0.1 * saliency_penalty(p, x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
