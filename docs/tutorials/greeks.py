r"""
Prices with delta and gamma
===========================

**You train a network to price options, and you need its Greeks.** Below: a delta in the wrong
units, a gamma that is zero, and a network that learns price, delta and gamma together.
"""

# %%
# The data
# --------
# Calls in the Black-Scholes model: few prices, with their delta and gamma. The inputs are spot and
# time to maturity; the strike is 100.

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

import inputgrad as ig

STRIKE, VOLATILITY = 100.0, 0.2


def black_scholes(market):
    """Price, delta and gamma [N] at market [N, 2], with interest 0."""
    spot, time = market.T
    width = VOLATILITY * time.sqrt()
    d1 = (spot / STRIKE).log() / width + width / 2
    cumulative = torch.special.ndtr
    density = torch.exp(-(d1**2) / 2) / math.sqrt(2 * math.pi)
    price = spot * cumulative(d1) - STRIKE * cumulative(d1 - width)
    return price, cumulative(d1), density / (spot * width)


def draw(count):
    return torch.stack([60 + 80 * torch.rand(count), 0.2 + 0.8 * torch.rand(count)], 1)


torch.manual_seed(0)
market = draw(48)
price, delta, gamma = black_scholes(market)

# %%
# Your own code
# -------------
# Inputs and prices are standardised, as usual for networks. The delta is the input gradient.

mean, std = market.mean(0), market.std(0)
scale = price.std()


def network(activation=nn.Softplus):
    torch.manual_seed(1)
    hidden = [nn.Linear(2, 32), activation(), nn.Linear(32, 32), activation()]
    return nn.Sequential(*hidden, nn.Linear(32, 1))


def train(loss_of, model, steps=500):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()
        decay.step()
    return model


def delta_by_hand(model, market):
    inputs = ((market - mean) / std).requires_grad_()
    (gradient,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
    return gradient[:, 0]


# %%
# The trap
# --------
# That gradient is of a **standardised** price by a **standardised** spot. It is off by the factor
# ``std[0] / scale``. Matching it to the true delta trains the network towards wrong slopes:

inputs, prices = (market - mean) / std, (price / scale)[:, None]


def loss_by_hand(model):
    error = (delta_by_hand(model, market) - delta).square().mean()
    return nn.functional.mse_loss(model(inputs), prices) + error


test = draw(2000)
true_price, true_delta, true_gamma = black_scholes(test)
by_hand = train(loss_by_hand, network())
priced = by_hand((test - mean) / std).squeeze(1) * scale
print(f"forgotten factor: {(std[0] / scale).item():.2f}")
print(f"mean error of the price, by hand: {(priced - true_price).abs().mean().item():.2f}")

# %%
# A second trap: gamma is a second derivative, and a ReLU network is piecewise linear. Its gamma
# is zero everywhere, however you train it:

curvature = ig.field(network(nn.ReLU), inputs, names="ST").d("SS")
print(f"largest gamma of a ReLU network: {curvature.abs().max().item()}")

# %%
# The same in this library
# ------------------------
# Put the scaling **into** the model. Then gradients are in your units. Labels go into the target
# by name. Only derivatives with respect to the spot have labels; NaN means no label.


class Pricer(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, market):
        return self.body((market - mean) / std) * scale


missing = torch.full_like(delta, torch.nan)
seconds = torch.full((len(market), 2, 2), torch.nan)
seconds[:, 0, 0] = gamma
labels = {
    "price": price[:, None],
    "delta": torch.stack([delta, missing], 1),
    "gamma": seconds,
}

# %%
# Weights make the three errors comparable: a delta is about 1, a gamma about 0.02, a price about
# 15.

base = ig.OnTarget("price", nn.MSELoss())
runs = {
    "price": ig.InputGradientLoss(base),
    "price, delta": base + 200.0 * ig.GradientMatch("delta"),
    "price, delta, gamma": base
    + 200.0 * ig.GradientMatch("delta")
    + 2e5 * ig.HessianMatch("gamma"),
}


def greeks(model, market):
    u = ig.field(model, market, names="ST")
    return u.value.detach(), u.d("S").detach(), u.d("SS").detach()


models = {}
print(f"{'mean error of':22} price    delta    gamma")
for name, criterion in runs.items():
    models[name] = train(lambda model, c=criterion: c(model, market, labels), Pricer())
    found = greeks(models[name], test)
    errors = [(a - b).abs().mean() for a, b in zip(found, black_scholes(test), strict=True)]
    print(f"{name:22} {errors[0]:.3f}   {errors[1]:.4f}   {errors[2]:.5f}")

# %%
# Delta and gamma over the spot, half a year before maturity:

line = torch.stack([torch.linspace(65, 135, 200), torch.full((200,), 0.5)], 1)
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
for column, (axis, name) in enumerate(zip(axes, ("delta", "gamma"), strict=True), start=1):
    axis.plot(line[:, 0], black_scholes(line)[column], "--", color="gray", label="true")
    for label, model in models.items():
        axis.plot(line[:, 0], greeks(model, line)[column], label=label, linewidth=1.2)
    axis.set(title=name, xlabel="spot")
axes[0].legend(fontsize=8)

# %%
# Shape without labels
# --------------------
# If you have no Greeks, you still know the shape: a call rises with the spot and with time, and is
# convex in the spot. ``Monotone`` penalises the square of a wrong slope, ``Convex`` the size of a
# wrong curvature (``power=2`` squares it).

few = market[:16]
noisy = {"price": labels["price"][:16] + 3 * torch.randn(16, 1)}
box = ig.Uniform(torch.tensor([60.0, 0.2]), torch.tensor([140.0, 1.0]), n=64)
shaped = base + 1e4 * ig.Monotone({0: 1, 1: 1}, at=box) + 1e6 * ig.Convex({0: 1}, at=box)
for name, criterion in (("price alone", runs["price"]), ("with its shape", shaped)):
    model = train(lambda model, c=criterion: c(model, few, noisy), Pricer(), steps=800)
    found, slopes, bends = greeks(model, test)
    off = (found - true_price).abs().mean().item()
    lowest = f"lowest delta {slopes.min().item():.3f}, lowest gamma {bends.min().item():.4f}"
    print(f"{name:15} mean error {off:.2f}, {lowest}")

# %%
# Variants
# --------
# ``ig.recipes.differential_machine_learning`` standardises prices and deltas as its paper does.
# If spot and time are separate inputs of your model, write ``ig.GradientMatch("delta", wrt="S")``
# and ``ig.HessianMatch("gamma", wrt="S")``: labels then have the shapes of that input
# (:doc:`/data_in_the_batch`).
# ``ig.recipes.no_arbitrage`` has the conditions on a whole surface of prices.
