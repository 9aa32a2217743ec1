"""A continuous normalising flow whose steps are kept in one tensor, as solvers keep them; its trace carries no graph.

Thread: none; rtqichen/torchdiffeq stores its solution so
"""

import torch
from torch import nn

model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def velocity(state):
    z = state[:, :2] if state.requires_grad else state[:, :2].requires_grad_(True)
    dz, trace = model(z), 0.0
    for i in range(2):
        (row,) = torch.autograd.grad(dz[:, i].sum(), z, retain_graph=True)  # expect: IG101 error
        trace = trace + row[:, i : i + 1]
    return torch.cat([dz, -trace], 1)


for _ in range(4):
    state = torch.cat([0.3 * torch.randn(16, 2), torch.zeros(16, 1)], 1)
    for _ in range(4):
        state = state + 0.25 * velocity(state)
    solution = torch.empty(2, *state.shape)
    solution[0] = torch.zeros_like(state)
    solution[1] = state
    z, change = solution[-1][:, :2], solution[-1][:, 2]
    loss = (0.5 * z.square().sum(1) + change).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
