"""DistributedDataParallel: a critic with two forward passes and its penalty in one backward pass; evaluation through the module.

Thread: pytorch/pytorch#63929
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
critic = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1)))
optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
for _ in range(3):
    real, fake = torch.randn(16, 4), torch.randn(16, 4) + 1
    scores = critic(torch.cat([real, fake]))
    alpha = torch.rand(16, 1)
    x = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    (g,) = torch.autograd.grad(critic.module(x).sum(), x, create_graph=True)  # its gradients come with the loss's
    loss = scores[16:].mean() - scores[:16].mean() + 1e-3 * scores.square().mean() + 10 * ((g.norm(dim=1) - 1) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        critic.module(real).mean()
dist.destroy_process_group()
