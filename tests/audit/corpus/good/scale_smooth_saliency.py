"""Total variation in space of the saliency of the label's output, and a map of weights on the norm over the channels of each pixel: both as meant.

Thread: jacobgil/pytorch-grad-cam#584
"""

import torch
import torch.nn.functional as F
from torch import nn


class Explained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(F.avg_pool2d(F.gelu(self.conv(x)), 2).flatten(1))


def explanation_losses(logits: torch.Tensor, x: torch.Tensor, y: torch.Tensor, background: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = logits.gather(1, y[:, None]).sum()
    saliency = torch.autograd.grad(chosen, x, create_graph=True)[0]
    variation = (saliency[..., 1:] - saliency[..., :-1]).abs().mean() + (saliency[..., 1:, :] - saliency[..., :-1, :]).abs().mean()
    outside = (saliency.norm(dim=1) * background).sum(dim=(1, 2)).mean()
    return variation, outside


def main() -> None:
    torch.manual_seed(0)
    model = Explained()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(3):
        x, y = torch.rand(6, 3, 8, 8, requires_grad=True), torch.randint(4, (6,))
        background = (torch.rand(6, 8, 8) > 0.5).float()
        logits = model(x)
        variation, outside = explanation_losses(logits, x, y, background)
        loss = F.cross_entropy(logits, y) + 0.1 * variation + 0.1 * outside
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


main()
