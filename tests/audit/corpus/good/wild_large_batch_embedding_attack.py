"""Embeddings are attacked for several steps, whose parameter gradients add up on purpose (FreeLB).

Thread: written for the audit, after issue 19 of this project
"""

import torch
import torch.nn.functional as F
from torch import nn

emb, body = nn.Embedding(20, 8), nn.Sequential(nn.Linear(8, 24), nn.SiLU(), nn.Linear(24, 24), nn.SiLU(), nn.Linear(24, 2))
opt = torch.optim.Adam([*emb.parameters(), *body.parameters()], 1e-3)
for _ in range(3):
    tokens, y = torch.randint(20, (8, 5)), torch.randint(2, (8,))
    delta = torch.zeros(8, 5, 8).uniform_(-0.1, 0.1)
    opt.zero_grad()
    for k in range(3):
        delta.requires_grad_()
        loss = F.cross_entropy(body((emb(tokens) + delta).mean(1)), y) / 3
        loss.backward()
        g = delta.grad.detach()
        delta = (delta + 0.1 * g / (g.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-8)).detach()
    opt.step()
