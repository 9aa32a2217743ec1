"""A Hamiltonian network and a signed distance with an eikonal term, norms printed.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

H = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1, bias=False))
S = nn.Sequential(nn.Linear(3, 32), nn.Softplus(100), nn.Linear(32, 1))
opt = torch.optim.Adam([*H.parameters(), *S.parameters()])
J = torch.tensor([[0.0, 1], [-1, 0]])
for i in range(4):
    x = torch.randn(32, 2, requires_grad=True)
    dH = torch.autograd.grad(H(x).sum(), x, create_graph=True)[0]
    cost = (dH @ J.T - torch.randn(32, 2)).pow(2).mean()
    p = torch.rand(40, 3, requires_grad=True)
    s = S(p)
    n = torch.autograd.grad(s, p, torch.ones_like(s), create_graph=True, retain_graph=True, only_inputs=True)[0]
    eik = ((n.norm(2, dim=-1) - 1) ** 2).mean()
    nl = (n - F.normalize(p.detach(), dim=-1)).abs().norm(2, dim=1).mean()
    loss = cost + s.abs().mean() + 0.1 * eik + nl
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(n.norm().item(), dH.norm())
