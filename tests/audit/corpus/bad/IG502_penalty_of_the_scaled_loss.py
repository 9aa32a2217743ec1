"""Mixed precision: the input gradient is taken of the scaled loss, so that it does not underflow, and enters the penalty with the scale still in it.

Thread: NVIDIA/apex#873
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
        scaled = torch.autograd.grad(scaler.scale(loss), x, create_graph=True)[0]  # expect: IG502 error
        with torch.autocast("cpu", dtype=torch.float16):
            penalty = scaled.float().pow(2).sum(dim=1).mean()
            total = loss + 1e-3 * penalty
        optimizer.zero_grad()
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()


main()
