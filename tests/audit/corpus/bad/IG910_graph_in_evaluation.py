"""Forces for prediction with create_graph=True left on.

Thread: NVIDIA/nvalchemi-toolkit#173
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, 1))
net.eval()
errors = []
for _ in range(4):
    positions, wanted = torch.randn(6, 3, requires_grad=True), torch.randn(6, 3)
    (g,) = torch.autograd.grad(net(positions).sum(), positions, create_graph=True)  # expect: IG910 note
    errors.append((g + wanted).abs().mean().item())
print(sum(errors) / len(errors))
