"""DistributedDataParallel: the loss is differentiated first, then the penalty of the same pass, by itself.

Thread: pytorch/pytorch#47562
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
critic = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(critic.parameters(), lr=0.01)
for _ in range(3):
    x = torch.randn(16, 4, requires_grad=True)
    scores = critic(x)
    (g,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    optimizer.zero_grad()
    scores.square().mean().backward(retain_graph=True)
    ((g.norm(dim=1) - 1) ** 2).mean().backward()  # expect: IG801 error
    optimizer.step()
dist.destroy_process_group()
