"""Tensor parallelism where nothing is missing: an attack by a constant gradient, and a penalty by the library, whose entry keeps its graph.

Thread: pytorch/pytorch#159959
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import inputgrad as ig

dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 1))
parallelize_module(model, init_device_mesh("cpu", (1,)), {"2": ColwiseParallel(), "4": RowwiseParallel()})
criterion = ig.InputGradientLoss("mse", [0.1 * ig.GradientNorm(of="loss", power=2)])
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for _ in range(2):
    x, y = torch.randn(8, 4, requires_grad=True), torch.randn(8, 1)
    (g,) = torch.autograd.grad((model(x) - y).square().sum(), x)
    optimizer.zero_grad()
    criterion(model, (x + 0.1 * g.sign()).detach(), y).backward()
    optimizer.step()
