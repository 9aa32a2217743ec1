"""An inverse problem for a differential equation by L-BFGS, the residual printed.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1))
lam = nn.Parameter(torch.tensor([0.5]))
x = torch.rand(50, 1, requires_grad=True)
t = torch.rand(50, 1, requires_grad=True)
opt = torch.optim.LBFGS([*net.parameters(), lam], max_iter=8, line_search_fn="strong_wolfe")
it = 0


def f():
    u = net(torch.cat([x, t], 1))
    ut = torch.autograd.grad(u, t, torch.ones_like(u), retain_graph=True, create_graph=True)[0]
    ux = torch.autograd.grad(u, x, torch.ones_like(u), retain_graph=True, create_graph=True)[0]
    uxx = torch.autograd.grad(ux, x, torch.ones_like(ux), retain_graph=True, create_graph=True)[0]
    return u, ut + lam * u * ux - 0.01 * uxx


def closure():
    global it
    opt.zero_grad()
    u, r = f()
    loss = (u - torch.sin(x.detach())).pow(2).mean() + r.pow(2).mean()
    loss.backward()
    it += 1
    if it % 5 == 0:
        print(loss.item(), r.detach().norm().item())
    return loss


for k in range(3):
    opt.step(closure)
net.eval()
u, r = f()
print(r.abs().max().item())
