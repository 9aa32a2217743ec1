"""The input gradient is matched with a teacher's, a constant.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(6, 24), nn.SiLU(), nn.Linear(24, 3))
teacher = nn.Sequential(nn.Linear(6, 24), nn.SiLU(), nn.Linear(24, 3))
opt = torch.optim.Adam(net.parameters())
for i in range(4):
    x = torch.randn(16, 6, requires_grad=True)
    y = torch.randint(3, (16,))
    tl = teacher(x)
    (tg,) = torch.autograd.grad(F.cross_entropy(tl, y, reduction="sum"), x)
    o = net(x)
    (sg,) = torch.autograd.grad(F.cross_entropy(o, y, reduction="sum"), x, create_graph=True)
    loss = (
        F.cross_entropy(o, y)
        + F.mse_loss(sg, tg)
        + (1 - F.cosine_similarity(sg, tg, dim=1)).mean()
        + F.kl_div(F.log_softmax(o, 1), F.softmax(tl.detach(), 1), reduction="batchmean")
    )
    opt.zero_grad()
    loss.backward()
    opt.step()
