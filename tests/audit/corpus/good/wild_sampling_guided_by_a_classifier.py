"""A diffusion model is trained, and in between samples are drawn along the gradient of a classifier: a long chain of constants.

Thread: openai/guided-diffusion (shape of its guidance, written anew)
"""

import torch
from torch import nn
from torch.nn import functional as F

denoiser, classifier = nn.Linear(8, 8), nn.Linear(8, 5)
optimizer = torch.optim.AdamW([*denoiser.parameters(), *classifier.parameters()], lr=1e-3)


def guidance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    with torch.enable_grad():
        x_in = x.detach().requires_grad_(True)
        chosen = F.log_softmax(classifier(x_in), 1)[range(len(y)), y]
        return torch.autograd.grad(chosen.sum(), x_in)[0] * 2.0


@torch.no_grad()
def sample(y: torch.Tensor, steps: int = 60) -> torch.Tensor:
    x = torch.randn(len(y), 8)
    for _ in range(steps):
        mean = x - 0.1 * denoiser(x)
        x = mean.float() + 0.01 * guidance(x, y).float() + 0.1 * torch.randn_like(x)
    return x


for _ in range(4):
    clean, noise, y = torch.randn(16, 8), torch.randn(16, 8), torch.randint(5, (16,))
    loss = F.mse_loss(denoiser(clean + noise), noise) + F.cross_entropy(classifier(clean), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    sample(y)
