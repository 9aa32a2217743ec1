"""A gradient penalty under GradScaler as PyTorch's notes have it: the gradient of the scaled loss, times the inverse scale, and the sum scaled again.

Thread: pytorch/pytorch#44667
"""

import torch
import torch.nn.functional as F
from torch import nn


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    for _ in range(3):
        x, y = torch.randn(16, 12, requires_grad=True), torch.randint(3, (16,))
        with torch.autocast("cpu", dtype=torch.float16):
            loss = F.cross_entropy(model(x), y, reduction="sum")
        scaled = torch.autograd.grad(outputs=scaler.scale(loss), inputs=[x], create_graph=True)
        inv_scale = 1.0 / scaler.get_scale()
        grads = [g * inv_scale for g in scaled]
        with torch.autocast("cpu", dtype=torch.float16):
            grad_norm = 0
            for g in grads:
                grad_norm = grad_norm + g.float().pow(2).sum(dim=1)
            loss = loss + grad_norm.sqrt().sum()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()


main()
