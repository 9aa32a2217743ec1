"""A KL regulariser whose perturbation is found by an optimiser of its own, made anew for each batch; the steps of the training are the other one's.

Thread: yaodongyu/TRADES (shape of its l2 attack, written anew)
"""

import torch
from torch import nn
from torch.nn import functional as F

net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def perturbed(x: torch.Tensor, steps: int = 4) -> torch.Tensor:
    delta = (0.001 * torch.randn_like(x)).requires_grad_(True)
    inner = torch.optim.SGD([delta], lr=0.1)
    clean = F.softmax(net(x), 1).detach()
    for _ in range(steps):
        inner.zero_grad()
        (-F.kl_div(F.log_softmax(net(x + delta), 1), clean, reduction="sum")).backward()
        norms = delta.grad.norm(dim=1, keepdim=True)
        delta.grad.div_(norms.clamp_min(1e-12))
        inner.step()
        delta.data.renorm_(p=2, dim=0, maxnorm=0.5)
    return (x + delta).detach()


for _ in range(4):
    x, y = torch.rand(16, 6), torch.randint(3, (16,))
    moved = perturbed(x)
    optimizer.zero_grad()
    output = net(x)
    loss = F.cross_entropy(output, y) + F.kl_div(F.log_softmax(net(moved), 1), F.softmax(output, 1), reduction="batchmean")
    loss.backward()
    optimizer.step()
