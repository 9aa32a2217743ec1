"""A gradient penalty on a model that tensor parallelism splits: the second derivative ends at the entry, and nothing is raised.

Thread: pytorch/pytorch#159959
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 1))
parallelize_module(model, init_device_mesh("cpu", (1,)), {"2": ColwiseParallel(), "4": RowwiseParallel()})
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(2):
    x = torch.randn(8, 4, requires_grad=True)
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)  # expect: IG607 error
    optimizer.zero_grad()
    (output.square().mean() + g.square().sum(1).mean()).backward()
    optimizer.step()
