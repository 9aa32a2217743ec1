"""DistributedDataParallel: a lazy R1 in a step of its own, with 0 times the output so that every parameter is reached.

Thread: POSTECH-CVLab/PyTorch-StudioGAN#176
"""

import tempfile

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
critic = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1)))
every = 16
ratio = every / (every + 1)
optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3 * ratio, betas=(0.0, 0.99**ratio))
for step in range(32):
    real, fake = torch.randn(16, 4), torch.randn(16, 4) + 1
    loss = F.softplus(critic(torch.cat([-real, fake]))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % every == 0:
        real.requires_grad_(True)
        scores = critic(real)
        (g,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
        optimizer.zero_grad()
        (10 / 2 * g.square().sum(1).mean() * every + 0 * scores[0, 0]).backward()
        optimizer.step()
dist.destroy_process_group()
