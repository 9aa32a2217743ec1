"""A penalty on the gradient by a dummy scale for several environments, one of them for testing.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import autograd, nn

phi = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
opt = torch.optim.Adam(phi.parameters())


def pen(cost, y):
    s = torch.tensor(1.0).requires_grad_()
    c = F.binary_cross_entropy_with_logits(cost * s, y)
    g = autograd.grad(c, [s], create_graph=True)[0]
    return torch.sum(g**2)


for i in range(4):
    nll, ps, acc = [], [], []
    for e in range(3):
        x, y = torch.randn(20, 6), torch.rand(20, 1).round()
        cost = phi(x)
        nll.append(F.binary_cross_entropy_with_logits(cost, y))
        ps.append(pen(cost, y))
    loss = torch.stack(nll[:2]).mean() + 1e-3 * sum(w.norm() ** 2 for w in phi.parameters())
    wgt = 1.0 if i < 2 else 100.0
    loss = loss + wgt * torch.stack(ps[:2]).mean()
    if wgt > 1:
        loss = loss / wgt
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(ps[2].detach().numpy(), nll[2].item())
