"""DistributedDataParallel: a step of the penalty alone, which never reaches the last layer's bias, so that its bucket stays open.

Thread: rosinality/stylegan2-pytorch#76
Raises: RuntimeError
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(3):
    real = torch.randn(16, 4, requires_grad=True)
    (g,) = torch.autograd.grad(model(real).sum(), real, create_graph=True)
    optimizer.zero_grad()
    (5 * g.square().sum(1).mean()).backward()  # expect: IG801 error
    optimizer.step()
dist.destroy_process_group()
