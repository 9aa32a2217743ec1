"""DistributedDataParallel: the penalty goes through model.module, so that the wrapper never hears of it, in a backward pass of its own.

Thread: k2-fsa/icefall#226
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def r1(network: nn.Module, real: torch.Tensor) -> torch.Tensor:
    real = real.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(network(real).sum(), real, create_graph=True)
    return g.square().sum(1).mean()


dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1)))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(3):
    real, fake = torch.randn(16, 4), torch.randn(16, 4) + 1
    loss = nn.functional.softplus(model(torch.cat([-real, fake]))).mean()
    optimizer.zero_grad()
    loss.backward()
    (5 * r1(model.module, real)).backward()  # expect: IG801 error
    optimizer.step()
dist.destroy_process_group()
