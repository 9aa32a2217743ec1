"""Adaptive weights: four ways to weigh a base loss and a term against each other, on what criterion.losses hands out.

Run: python examples/adaptive_weights.py
"""

import torch
from torch import nn

import inputgrad as ig
from inputgrad.adaptive import GradNorm, ReLoBRaLo, UncertaintyWeights


def data():
    """Values and derivatives of Σ sin(2 x_i): two losses of different size."""
    torch.manual_seed(0)
    x = 2 * torch.rand(256, 4) - 1
    return x, {"value": (2 * x).sin().sum(1, keepdim=True), "slope": 2 * (2 * x).cos()}


def train(make, steps=300):
    (x, target), criterion = data(), ig.OnTarget("value") + ig.GradientMatch("slope")
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 1))
    weights = make(criterion)
    optimizer = torch.optim.Adam([*model.parameters(), *(weights.parameters() if weights else ())], 1e-2)
    for _ in range(steps):
        losses = criterion.losses(model, x, target)
        shared = [model[0].parameters()] if isinstance(weights, GradNorm) else []
        optimizer.zero_grad()
        (weights(losses, *shared) if weights else sum(losses.values())).backward()
        optimizer.step()
    return {name: value.item() for name, value in criterion.evaluate(model, x, target).parts.items()}, weights.by_name() if weights else {}


if __name__ == "__main__":
    for make in (lambda _: None, GradNorm, ReLoBRaLo, UncertaintyWeights):
        found, weights = train(make)
        name = getattr(make, "__name__", "") if weights else "all 1"
        print(f"{name.replace('<lambda>', 'all 1'):20}", *(f"{k} {v:.1e}  " for k, v in found.items()), {k: round(v, 3) for k, v in weights.items()})
