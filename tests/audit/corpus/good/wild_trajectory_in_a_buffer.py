"""A Hamiltonian network integrated by a solver that collects its states in one tensor; the loss compares the trajectory.

Thread: Physics-aware-AI/Symplectic-ODENet (shape of its training, written anew)
"""

import torch
from torch import nn

energy = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(energy.parameters(), lr=1e-3)


def velocity(state: torch.Tensor) -> torch.Tensor:
    (slope,) = torch.autograd.grad(energy(state).sum(), state, create_graph=True)
    return torch.stack([slope[:, 1], -slope[:, 0]], 1)


def trajectory(start: torch.Tensor, times: int, step: float = 0.1) -> torch.Tensor:
    states = torch.empty(times, *start.shape)
    states[0], state = start, start
    for number in range(1, times):
        state = state + step * velocity(state)
        states[number].copy_(state)
    return states


for _ in range(4):
    start = torch.randn(16, 2, requires_grad=True)
    path = trajectory(start, 3)
    loss = (path[1] - 0.9 * start.detach()).square().mean() + (path[2] - 0.8 * start.detach()).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
