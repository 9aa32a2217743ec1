"""An inverse problem: how fast heat spreads, learned with the solution from noisy measurements of it.

u_t = α u_xx with α = 0.05 unknown. Two hundred measurements train the network's values, the equation its derivatives at points drawn by residual-based adaptive
sampling (RAD), and α is a parameter of the equation's recipe: the optimiser gets it beside the network's.

Run: python examples/inverse_problem.py
"""

import math

import torch
from torch import Tensor, nn

import inputgrad as ig

ALPHA = 0.05
LOW, HIGH = torch.tensor([0.0, 0.0]), torch.tensor([1.0, 1.0])


def exact(points: Tensor) -> Tensor:
    x, t = points.T
    return torch.exp(-ALPHA * math.pi**2 * t) * torch.sin(math.pi * x)


def main(steps: int = 1500, seed: int = 0) -> float:
    torch.manual_seed(seed)
    measured = torch.rand(200, 2)
    values = exact(measured) + 0.01 * torch.randn(200)
    model = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1), nn.Flatten(0))
    alpha = nn.Parameter(torch.tensor(0.5))

    equation = ig.recipes.heat(diffusivity=alpha, names="xt", at=ig.Given("points"))
    criterion = ig.OnTarget("u") + 1.0 * equation
    optimizer = torch.optim.Adam([{"params": model.parameters(), "lr": 5e-3}, {"params": [alpha], "lr": 1e-2}])
    for step in range(steps):
        if step % 500 == 0:
            points = ig.recipes.rad_points(ig.recipes.heat(diffusivity=alpha, names="xt"), model, 200, LOW, HIGH, candidates=2000)
        optimizer.zero_grad()
        loss = criterion(model, measured, {"u": values, "points": points})
        loss.backward()
        optimizer.step()
        if step % 500 == 0:
            print(f"step {step}: loss {loss.item():.1e}, α = {alpha.item():.4f}")
    print(f"α = {alpha.item():.4f}; the true one is {ALPHA}")
    return alpha.item()


if __name__ == "__main__":
    main()
