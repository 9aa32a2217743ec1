r"""
PINNs: boundary and initial conditions, weights, L-BFGS, systems, inverse problems
==================================================================================

**You solve a differential equation with a network.** Below: a residual that is silently wrong, then
five problems in a few lines each.
"""

# %%
# Your own code
# -------------
# The heat equation :math:`u_t = \alpha u_{xx}` on a rod, with derivatives from ``autograd.grad``.

import math

import matplotlib.pyplot as plt
import torch
from torch import nn

import inputgrad as ig

ALPHA = 0.1


def exact(points):
    """The solution that starts as a sine, at points [N, 2] of columns x and t."""
    x, t = points.T
    return torch.exp(-ALPHA * math.pi**2 * t) * torch.sin(math.pi * x)


def derivative(u, x):
    return torch.autograd.grad(u, x, torch.ones_like(u), create_graph=True)[0]


def residual_by_hand(model, points):
    points = points.clone().requires_grad_()
    u = model(points)
    first = derivative(u, points)
    u_t, u_x = first[:, 1:2], first[:, 0]
    u_xx = derivative(u_x, points)[:, 0]
    return u_t - ALPHA * u_xx


# %%
# The trap
# --------
# ``u_t`` has the shape ``[N, 1]`` and ``u_xx`` has ``[N]``. Their difference is an ``[N, N]``
# matrix of every point against every other. Nothing raises an error, and the loss falls during
# training. The exact solution, whose residual must be zero, shows it:

torch.manual_seed(0)
interior = torch.rand(200, 2)
wrong = residual_by_hand(exact, interior)
print(
    f"residual by hand: shape {list(wrong.shape)}, mean square {wrong.square().mean().item():.3f}"
)

# %%
# The same in this library
# ------------------------
# You name derivatives, and a residual of the wrong shape raises an error.


class Exact(nn.Module):
    def forward(self, points):
        return exact(points)


def equation(u):
    return u.d("t") - ALPHA * u.d("xx")


residual = ig.InputGradientLoss(None, 1.0 * ig.Residual(equation, names="xt"))
print(f"residual here: mean square {residual(Exact(), interior).item():.1e}")

# %%
# Boundary and initial conditions
# -------------------------------
# Each condition is a term at its own points. The inputs of the batch are the points of the
# equation.

edges = torch.rand(100, 2)
edges[:, 0] = (edges[:, 0] > 0.5).float()  # x = 0 or x = 1
start = torch.rand(100, 2)
start[:, 1] = 0  # t = 0


def sine(u):
    return torch.sin(math.pi * u.coordinate("x"))


terms = (
    ig.recipes.heat(diffusivity=ALPHA, names="xt")
    + ig.recipes.condition(value=0.0, at=ig.Given(edges), names="xt").named("edges")
    + ig.recipes.condition(value=sine, at=ig.Given(start), names="xt").named("start")
)
criterion = ig.InputGradientLoss(None, terms)


def network(inputs=2, outputs=1):
    torch.manual_seed(0)
    hidden = [nn.Linear(inputs, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh()]
    return nn.Sequential(*hidden, nn.Linear(24, outputs))


grid = torch.cartesian_prod(torch.linspace(0, 1, 41), torch.linspace(0, 1, 41))


def error(model):
    with torch.no_grad():
        return (model(grid).squeeze(1) - exact(grid)).abs().max().item()


def train(step_of, model, steps=200):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        step_of(model).backward()
        optimizer.step()
    return model


plain = train(lambda model: criterion(model, interior), network())
print(f"largest error after Adam: {error(plain):.3f}")

# %%
# Adaptive weights
# ----------------
# Where the solution has many waves, the residual is thousands of times larger than the
# conditions, and the network ignores them. ``criterion.losses`` gives the parts with their
# graphs, and a balancer updates the weights at each step. Poisson's equation with two full waves:

WAVES = 4 * math.pi


def wavy(u):
    return WAVES**2 * torch.sin(WAVES * u.coordinate("x"))


line, ends = torch.linspace(0, 1, 64)[:, None], torch.tensor([[0.0], [1.0]])
poisson = ig.InputGradientLoss(
    None,
    ig.recipes.poisson(source=wavy, names="x")
    + ig.recipes.condition(value=0.0, at=ig.Given(ends), names="x").named("ends"),
)
balance = ig.adaptive.GradientAnnealing(poisson, equation="residual")


def balanced(model):
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    return balance(poisson.losses(model, line), matrices)


equal_weights = train(lambda model: poisson(model, line), network(1), steps=400)
adaptive_weights = train(balanced, network(1), steps=400)
for name, model in (("equal", equal_weights), ("adaptive", adaptive_weights)):
    gap = (model(line) - torch.sin(WAVES * line)).abs().max().item()
    print(f"largest error with {name} weights: {gap:.3f}")
print("weights at the end:", {name: round(w, 1) for name, w in balance.by_name().items()})

# %%
# L-BFGS
# ------
# L-BFGS calls a closure several times per step. The criterion counts that as one step.


def finish(criterion, model, inputs, target=None, steps=120, more=()):
    optimizer = torch.optim.LBFGS(
        [*model.parameters(), *more], max_iter=steps, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = criterion(model, inputs, target)
        loss.backward()
        return loss

    optimizer.step(closure)
    return model


finish(criterion, plain, interior)
print(f"largest error after L-BFGS: {error(plain):.4f}")

# %%
# The solution over x and t, and its error:

figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 2.8), layout="constrained")
with torch.no_grad():
    values = plain(grid).reshape(41, 41)
for axis, shown, title in (
    (left, values, "u(x, t)"),
    (right, (values - exact(grid).reshape(41, 41)).abs(), "error"),
):
    picture = axis.imshow(shown, origin="lower", extent=(0, 1, 0, 1), aspect="auto")
    axis.set(title=title, xlabel="t", ylabel="x")
    figure.colorbar(picture)

# %%
# A system
# --------
# Several equations are a tuple, and the loss is their mean; ``outputs`` names the columns of the
# network's output. Here a predator and its prey; the network satisfies the initial values by
# construction, so it needs no condition:


class Populations(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = network(1, 2)

    def forward(self, t):
        return torch.tensor([1.5, 1.0]) + t * self.body(t)


def lotka_volterra(u):
    prey, predator = u.part("prey"), u.part("predator")
    return (
        prey.d("t") - prey.value * (1 - predator.value),
        predator.d("t") - predator.value * (prey.value - 1),
    )


system = ig.InputGradientLoss(
    None, 1.0 * ig.Residual(lotka_volterra, names="t", outputs=("prey", "predator"))
)
times = torch.linspace(0, 6, 80)[:, None]
populations = train(lambda model: system(model, times), Populations(), steps=150)
finish(system, populations, times, steps=200)

reference, step = [torch.tensor([1.5, 1.0])], 0.01  # the same by many small steps
for _ in range(600):
    prey, predator = reference[-1]
    slope = torch.stack([prey * (1 - predator), predator * (prey - 1)])
    prey, predator = reference[-1] + step / 2 * slope
    slope = torch.stack([prey * (1 - predator), predator * (prey - 1)])
    reference.append(reference[-1] + step * slope)

figure, axis = plt.subplots(figsize=(6, 2.8), layout="constrained")
for column, name in enumerate(("prey", "predator")):
    (line,) = axis.plot(times, populations(times).detach()[:, column], label=name)
    axis.plot(torch.arange(601) * step, torch.stack(reference)[:, column], "--", color="gray")
axis.set(xlabel="t", title="network, and solver (dashed)")
axis.legend()

# %%
# An inverse problem
# ------------------
# A coefficient that you do not know is an ``nn.Parameter``. Noisy measurements are the base loss,
# the equation is evaluated at other points, and the optimiser also gets the coefficient.

measured = torch.rand(100, 2)
noisy = (exact(measured) + 0.01 * torch.randn(100))[:, None]
alpha = nn.Parameter(torch.tensor(0.5))
unknown = nn.MSELoss() + ig.recipes.heat(diffusivity=alpha, names="xt", at=ig.Given(interior))

model = finish(unknown, network(), measured, noisy, steps=250, more=[alpha])
print(f"coefficient found: {alpha.item():.3f}, true: {ALPHA}")

# %%
# Variants
# --------
# ``ig.recipes.rad_points`` draws points where the residual is large, ``ig.recipes.causal`` takes
# earlier times first, ``ig.recipes.self_adaptive`` gives each point a weight. Second and higher
# derivatives are computed in one pass of the network, see the page on higher derivatives.
