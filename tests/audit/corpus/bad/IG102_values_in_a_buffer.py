"""Forces whose values are put into a buffer for all molecules of a batch: the buffer has no graph.

Thread: none; written for the kind
"""

import torch
from torch import nn

net = nn.Sequential(nn.Linear(6, 16), nn.SiLU(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

for _ in range(4):
    positions, energies, wanted = torch.randn(8, 6, requires_grad=True), torch.randn(8, 1), torch.randn(8, 6)
    energy = net(positions)
    (slope,) = torch.autograd.grad(energy.sum(), positions, create_graph=True)
    forces = torch.zeros(8, 6)
    for molecule in range(8):
        forces[molecule] = -slope[molecule].detach()  # expect: IG102 error
    loss = (energy - energies).square().mean() + 10 * (forces - wanted).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
