"""Integrated gradients in a serving function under inference_mode.

Thread: triton-inference-server/server#7974
Raises: RuntimeError
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1))


@torch.inference_mode()
def serve(x: torch.Tensor) -> torch.Tensor:
    total = torch.zeros_like(x)
    for k in range(1, 5):
        point = (k / 4 * x).requires_grad_(True)
        total += torch.autograd.grad(model(point).sum(), point)[0]  # expect: IG106 error
    return x * total / 4


serve(torch.rand(2, 6))
