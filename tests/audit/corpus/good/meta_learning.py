"""MAML: the inner gradients keep their graph through the outer step, on fast weights.

Thread: learnables/learn2learn#429
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(4):
    optimizer.zero_grad()
    outer = torch.zeros(())
    for _ in range(2):
        x, y = torch.rand(10, 1), torch.rand(10, 1)
        weights = dict(model.named_parameters())
        for _ in range(2):
            inner = F.mse_loss(functional_call(model, weights, (x,)), y)
            gradients = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
            weights = {name: value - 0.05 * g for (name, value), g in zip(weights.items(), gradients, strict=True)}
        outer = outer + F.mse_loss(functional_call(model, weights, (x,)), y)
    outer.backward()
    optimizer.step()
