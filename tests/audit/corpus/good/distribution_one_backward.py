"""DistributedDataParallel: loss and penalty in one backward pass, the output's bias held by it; accumulation under no_sync.

Thread: rosinality/stylegan2-pytorch#76
"""

import tempfile

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def loss_of(critic: nn.Module, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    both = torch.cat([real, fake]).requires_grad_(True)
    scores = critic(both)
    (g,) = torch.autograd.grad(scores.sum(), both, create_graph=True)
    half = len(real)
    return scores[half:].mean() - scores[:half].mean() + 10 * ((g.norm(dim=1) - 1) ** 2).mean() + 1e-3 * scores.square().mean()


dist.init_process_group("gloo", init_method=f"file://{tempfile.mkdtemp()}/store", rank=0, world_size=1)
critic = DistributedDataParallel(nn.Sequential(nn.Linear(4, 16), nn.SiLU(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(critic.parameters(), lr=0.01)
for _ in range(3):
    optimizer.zero_grad()
    with critic.no_sync():
        (loss_of(critic, torch.randn(8, 4), torch.randn(8, 4) + 1) / 2).backward()
    (loss_of(critic, torch.randn(8, 4), torch.randn(8, 4) + 1) / 2).backward()
    optimizer.step()
dist.destroy_process_group()
