"""The norm of the gradient of a mean is printed; the term takes its direction.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(5, 16), nn.Softplus(), nn.Linear(16, 2))
opt = torch.optim.SGD(net.parameters(), 0.05)
for i in range(4):
    x, y = torch.randn(12, 5, requires_grad=True), torch.randint(2, (12,))
    loss = F.cross_entropy(net(x), y)
    (g,) = torch.autograd.grad(loss, x, create_graph=True)
    print("gradient of the mean loss", g.norm(dim=1).mean().item(), (g.norm(dim=1) - 1).square().mean().item())
    total = loss + 0.1 * (g / g.norm(dim=1, keepdim=True)).prod(dim=1).square().mean()
    opt.zero_grad()
    total.backward()
    opt.step()
