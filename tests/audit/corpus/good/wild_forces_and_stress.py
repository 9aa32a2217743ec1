"""Energies, forces and stress of molecules; errors printed.

Thread: none; written for the kind
"""

import torch
import torch.nn.functional as F
from torch import nn

net = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, 1))
opt = torch.optim.AdamW(net.parameters())
for i in range(4):
    pos = torch.randn(5, 4, 3, requires_grad=True)
    strain = torch.zeros(5, 3, 3, requires_grad=True)
    p = pos + pos @ strain
    d = (p[:, :, None] - p[:, None]).norm(dim=-1) + torch.eye(4)
    z = torch.cat([p, p.roll(1, 1)], -1)
    e = (net(z).squeeze(-1) + (1 / d).sum(-1) * 0.01).sum(1)
    f, v = torch.autograd.grad(e.sum(), [pos, strain], create_graph=True)
    loss = F.mse_loss(e / 4, torch.randn(5)) + 10 * F.mse_loss(-f, torch.randn(5, 4, 3)) + F.huber_loss(v / 10, torch.zeros(5, 3, 3))
    opt.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
    print((f.detach() ** 2).mean().sqrt().item(), f.abs().mean().item())
