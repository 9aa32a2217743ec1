"""A gradient penalty on a model sharded by fully_shard: its parameters are freed before the second derivative needs them.

Thread: deepspeedai/DeepSpeed#8026
Raises: RuntimeError
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
model = nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1))
for layer in model:
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(2):
    x = torch.randn(8, 4, requires_grad=True)
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    optimizer.zero_grad()
    (output.square().mean() + g.square().sum(1).mean()).backward()  # expect: IG605 error
    optimizer.step()
