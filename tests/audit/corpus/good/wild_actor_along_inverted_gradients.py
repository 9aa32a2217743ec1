"""An actor goes back along a critic's gradient in the action, weighted by the room that is left.

Thread: written for the audit, after issue 19 of this project
"""

import torch
import torch.nn.functional as F
from torch import nn

actor, critic = (
    nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 2)),
    nn.Sequential(nn.Linear(5, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 1)),
)
oa, oc = torch.optim.Adam(actor.parameters(), 1e-3), torch.optim.Adam(critic.parameters(), 1e-3)
for _ in range(4):
    s, a, r = torch.randn(32, 3), torch.rand(32, 2), torch.randn(32, 1)
    oc.zero_grad()
    F.mse_loss(critic(torch.cat([s, a], 1)), r).backward()
    oc.step()
    action = actor(s)
    leaf = action.detach().requires_grad_(True)
    (dq,) = torch.autograd.grad(critic(torch.cat([s, leaf], 1)).mean(), leaf)
    room = torch.where(dq > 0, 1 - leaf, leaf + 1).detach()
    oa.zero_grad()
    action.backward(-dq * room)
    oa.step()
