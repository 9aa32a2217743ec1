"""Physics-informed losses: residuals of differential equations, and their conditions.

Points are samples: ``criterion(model, points)`` with points ``[N, D]`` and ``names`` for their columns, or a dict ``{"x": x, "t": t}``, whose names are used.
Conditions stand beside the equation, as terms at points of their own (`condition`), or as the base loss where the batch's inputs are the points of the
conditions and the equation is taken at ``Given(interior)``.
"""

from collections.abc import Mapping
from functools import partial

from inputgrad.operators.coordinates import Names
from inputgrad.places.base import Place
from inputgrad.recipes import residuals
from inputgrad.recipes.residuals import Quantity
from inputgrad.terms.base import TermSum, Weighted
from inputgrad.terms.residual import Residual, ResidualGradient
from inputgrad.terms.weights import Weight
from inputgrad.variables import Wrt


def poisson(
    weight: Weight = 1.0, *, source: Quantity = 0.0, names: Names | None = None, wrt: Wrt | None = None, at: Place | None = None, conductivity: Quantity = 1.0
) -> Weighted:
    """Poisson's equation: the residual of −∇·(k ∇u) = f, with k = 1 that of −Δu = f.

        weight · mean_n ( Σ_i ∂/∂x_i (k ∂u/∂x_i) + f )²        at the points x_n

    weight: the factor of the formula.
    source: f, a number, a tensor, or a callable of the field, such as ``lambda u: torch.sin(u.coordinate("x"))``.
    names: the names of the coordinates, in the order of the input's columns: "xy" or ("x", "y"); inputs in a dict bring their own.
    wrt: the inputs that are coordinates, where not all are.
    at: the points, such as ``ig.Uniform(0.0, 1.0)``, or with bounds per column ``ig.Uniform(torch.tensor([-1.0, 0.0]), 1.0)``; the batch's inputs by default.
    conductivity: k, a number, a tensor, or a callable of the field.
    u: the model, ``[N]`` or ``[N, 1]``.

    The sum is over every coordinate.

    When not: without a `condition`, which alone makes the solution unique; with ReLU units, whose second derivative is zero.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 3 and 4; the sign is that
    of Yu et al. 2022, section 3.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, poisson(source=1.0, names="xy"))
    """
    return weight * Residual(partial(residuals.poisson, source=source, conductivity=conductivity), names, wrt, at=at)


def heat(
    weight: Weight = 1.0,
    *,
    diffusivity: Quantity = 1.0,
    source: Quantity = 0.0,
    time: str = "t",
    names: Names | None = None,
    wrt: Wrt | None = None,
    at: Place | None = None,
) -> Weighted:
    """The heat equation: the residual of ∂u/∂t = α Δu + f.

        weight · mean_n ( ∂u/∂t − α Σ_i ∂²u/∂x_i² − f )²        at the points (x_n, t_n)

    weight: the factor of the formula.
    diffusivity: α, a number, a tensor (an `nn.Parameter` of yours is learned: the inverse problem) or a callable of the field. What is computed from a
      parameter must be computed at every step: ``lambda u: log_D.exp()``, not ``log_D.exp()``. Engine "compiled" needs ``lambda u: model.D``, with the
      parameter in the model.
    source: f, likewise.
    time: the name of t; the Laplacian is over the other coordinates.
    names, wrt, at: as in `poisson`.
    u: the model, ``[N]`` or ``[N, 1]``.

    When not: backwards in time, where the problem is ill-posed and a small residual says little about the error.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 3 and 4.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, heat(diffusivity=0.1, names="xt"))
    """
    return weight * Residual(partial(residuals.heat, diffusivity=diffusivity, source=source, time=time), names, wrt, at=at)


def wave(
    weight: Weight = 1.0,
    *,
    speed: Quantity = 1.0,
    source: Quantity = 0.0,
    time: str = "t",
    names: Names | None = None,
    wrt: Wrt | None = None,
    at: Place | None = None,
) -> Weighted:
    """The wave equation: the residual of ∂²u/∂t² = c² Δu + f.

        weight · mean_n ( ∂²u/∂t² − c² Σ_i ∂²u/∂x_i² − f )²        at the points (x_n, t_n)

    weight: the factor of the formula.
    speed: c, a number, a tensor (an `nn.Parameter` of yours is learned) or a callable of the field.
    source: f, likewise.
    time, names, wrt, at: as in `heat`.
    u: the model, ``[N]`` or ``[N, 1]``.

    It needs two initial conditions: ``condition(value=u0, at=...)`` and ``condition(value=v0, derivative="t", at=...)``.

    When not: for many periods at once, which networks of tanh units learn slowly, high frequencies last: use sine activations, or train on
    one stretch of time after another.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 3 and 4.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, wave(speed=2.0, names="xt"))
    """
    return weight * Residual(partial(residuals.wave, speed=speed, source=source, time=time), names, wrt, at=at)


def burgers(
    weight: Weight = 1.0, *, viscosity: Quantity, space: str = "x", time: str = "t", names: Names | None = None, wrt: Wrt | None = None, at: Place | None = None
) -> Weighted:
    """Burgers' equation in one dimension: the residual of ∂u/∂t + u ∂u/∂x = ν ∂²u/∂x².

        weight · mean_n ( ∂u/∂t + u ∂u/∂x − ν ∂²u/∂x² )²        at the points (x_n, t_n)

    weight: the factor of the formula.
    viscosity: ν, a number (the paper's 0.01/π), a tensor (an `nn.Parameter` of yours is learned) or a callable of the field.
    space: the name of x.
    time: the name of t.
    names, wrt, at: as in `poisson`.
    u: the model, ``[N]`` or ``[N, 1]``.

    When not: for ν → 0, where the shock becomes a layer of width ν that points spread evenly miss; the terms of the residual r grow there like 1/ν, those
    of r² like 1/ν².

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, appendix A.1.

    >>> import math
    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, burgers(viscosity=0.01 / math.pi, names="xt"))
    """
    return weight * Residual(partial(residuals.burgers, viscosity=viscosity, space=space, time=time), names, wrt, at=at)


def condition(
    weight: Weight = 1.0,
    *,
    value: Quantity | Mapping[str | int, Quantity],
    at: Place | None,
    derivative: str | None = None,
    names: Names | None = None,
    wrt: Wrt | None = None,
    outputs: Names | None = None,
) -> Weighted:
    """A boundary or initial condition at points of its own: Dirichlet's u = g, or Neumann's with a derivative.

        weight · mean_n ( u(x_n) − g )²,   with ``derivative``: ( ∂u(x_n) − g )²        at the points x_n of the condition

    weight: the factor of the formula.
    value: g, a number, a tensor ``[N]`` or a callable of the field. For a model of C outputs: one g for all of them, a tensor ``[N, C]``, or a dict for some
      of them, by their names or numbers: ``value={"u": 0.0, "v": inflow}``.
    at: where it holds, such as ``Given(boundary)`` or ``Given("boundary")`` for a part of the target; None where the batch's inputs are its points.
    derivative: the name of the coordinate by which u is differentiated, such as "x", or "t" for an initial velocity; None for u itself.
    names, wrt: as in `poisson`.
    outputs: the names of all outputs of the model, such as "uvp", so that ``value`` can name some of them.
    u: the model.

    For several outputs the squares are averaged over those that have a value; for weights of their own take a condition for each.

    There are two other ways. Where the batch's inputs are the points of the condition, it can be the base loss: ``"mse" + poisson(source=f, names="xy",
    at=Given(interior))``. Or build it into the model, ``g(x) + x (1 − x) net(x)``, where it holds exactly.

    When not: where it can be built into the model, which spares a weight.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 4 (the first summand).

    >>> import torch
    >>> from inputgrad import Given, InputGradientLoss
    >>> boundary = Given(torch.rand(7, 2))
    >>> criterion = InputGradientLoss(None, poisson(source=1.0, names="xy") + condition(10.0, value=0.0, at=boundary, names="xy"))
    >>> no_slip = condition(value={"u": 0.0, "v": 0.0}, at=boundary, names="xy", outputs="uvp")
    """
    if isinstance(value, Mapping) and not value:
        raise ValueError('condition: value is an empty dict; give one value for each output concerned, such as value={"u": 0.0}')
    return weight * Residual(partial(residuals.condition, value=value, derivative=derivative), names, wrt, outputs, at)


def gradient_enhanced(weight: Weight = 0.01, *, residual: Residual | Weighted) -> TermSum:
    """Gradient-enhanced physics-informed networks (gPINN): the residual and its derivatives by every coordinate.

        residual + weight · mean_n Σ_i (∂r/∂x_i)²        r: the equation's residual, not its square; i: every coordinate, time included

    weight: w_g, 0.01 as in the paper's Poisson examples (it tries 1 to 1e-4, and 1e-3 and less for some), the same for every coordinate.
    residual: a `Residual`, or a recipe for one: ``gradient_enhanced(residual=poisson(source=f, names="xy"))``.

    Where the residual has a weight w already, the derivatives have w · w_g. `ResidualGradient` takes one coordinate with a weight of its own.

    When not: at shocks and kinks of u; where steps are expensive: it takes one more order of derivatives.

    Source: Yu, Lu, Meng & Karniadakis 2022, "Gradient-enhanced physics-informed neural networks for forward and inverse PDE problems",
    Computer Methods in Applied Mechanics and Engineering 393, section 2.2.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, gradient_enhanced(residual=poisson(source=1.0, names="xy")))
    """
    (part,) = residual.weighted()
    term = part.term
    if not isinstance(term, Residual):
        raise TypeError(f"gradient_enhanced takes a Residual or a recipe for one, such as poisson(source=f, names='xy'), got {term!r}")
    enhanced = ResidualGradient(term.function, term.names, term.wrt, term.outputs, term.at)
    return TermSum((part, *(weight * Weighted(enhanced, part.weight, part.every, part.fraction)).weighted()))
