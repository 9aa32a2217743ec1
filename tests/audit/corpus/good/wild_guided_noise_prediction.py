"""A noise prediction moved along another network's gradient, which is a constant.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(4, 32), nn.SiLU(), nn.Linear(32, 1))
clf = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
eps = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))
opt = torch.optim.Adam([*net.parameters(), *eps.parameters(), *clf.parameters()])
for i in range(4):
    x = torch.randn(16, 4)
    n = torch.randn_like(x)
    xt = (x + 0.5 * n).requires_grad_()
    s = -torch.autograd.grad(net(xt).sum(), xt, create_graph=True)[0]
    l1 = ((s + n / 0.5) ** 2).sum(1).mean()
    xg = xt.detach().requires_grad_()
    lp = F.log_softmax(clf(xg), 1)[:, 0].sum()
    g = torch.autograd.grad(lp, xg)[0]
    pred = eps(xt.detach()) - 0.3 * g
    l2 = F.mse_loss(pred, n)
    l3 = F.cross_entropy(clf(x), torch.randint(2, (16,)))
    loss = l1 + l2 + l3
    opt.zero_grad()
    loss.backward()
    opt.step()
