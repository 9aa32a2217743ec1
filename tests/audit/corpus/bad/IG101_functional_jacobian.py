"""torch.autograd.functional.jacobian without create_graph, as a contractive penalty.

Thread: pytorch/pytorch#46918
"""

import torch
from torch import nn

encoder = nn.Sequential(nn.Linear(6, 3), nn.Tanh())
decoder = nn.Linear(3, 6)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)

for _ in range(4):
    x = torch.rand(4, 6)
    reconstruction = (decoder(encoder(x)) - x).square().mean()
    jacobian = torch.autograd.functional.jacobian(lambda v: encoder(v).sum(0), x)  # expect: IG101 error
    loss = reconstruction + 1e-2 * jacobian.square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
