"""The gradient penalty is taken of the averaged copy of the network; the trained one does not feel it.

Thread: nihalsid/stylegan2-ada-lightning#3 (averaged weights and gradients mixed)
"""

import copy

import torch
from torch import nn

model = nn.Sequential(nn.Linear(5, 12), nn.SiLU(), nn.Linear(12, 1))
average = copy.deepcopy(model)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    x, y = torch.randn(16, 5, requires_grad=True), torch.randn(16, 1)
    (g,) = torch.autograd.grad(average(x).sum(), x, create_graph=True)  # expect: IG103 error
    loss = nn.functional.mse_loss(model(x), y) + g.square().sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        for kept, new in zip(average.parameters(), model.parameters(), strict=True):
            kept.lerp_(new, 0.1)
