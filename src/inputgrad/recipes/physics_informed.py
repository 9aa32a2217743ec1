"""Physics-informed losses: residuals of differential equations, their conditions, and the Hessian penalty.

Points are samples: ``criterion(model, points)`` with points ``[N, D]`` and ``names`` for their columns, or a dict ``{"x": x, "t": t}``, whose names are used.
Conditions stand beside the equation, as terms at points of their own (`condition`), or as the base loss where the batch's inputs are the points of the
conditions and the equation is taken at ``Given(interior)``.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from inputgrad.operators.coordinates import Names
from inputgrad.operators.fields import Field
from inputgrad.places.base import Place
from inputgrad.terms.base import TermSum, Weighted
from inputgrad.terms.hessian_penalty import HessianPenalty
from inputgrad.terms.hessian_penalty import Reduction as HessianReduction
from inputgrad.terms.residual import Residual, ResidualGradient
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key, Wrt

Quantity = float | Tensor | Callable[[Field], Any]
"""A number, a tensor (an `nn.Parameter` is learned), or a callable of the field that gives ``[N]``."""


def poisson(
    weight: Weight = 1.0, *, source: Quantity = 0.0, names: Names | None = None, wrt: Wrt | None = None, at: Place | None = None, conductivity: Quantity = 1.0
) -> Weighted:
    """Poisson's equation: the residual of −∇·(k ∇u) = f, with k = 1 that of −Δu = f.

        weight · mean_n ( Σ_i ∂/∂x_i (k ∂u/∂x_i) + f )²        at the points x_n

    u: the model, ``[N]`` or ``[N, 1]``. source: f; conductivity: k; each a number, a tensor, or a callable of the field:
    ``lambda u: torch.sin(u.coordinate("x"))``. names, wrt, at: as in `Residual`; the sum is over every coordinate.
    When not: without a `condition`, which alone make the solution one; with ReLU units, whose second derivative is zero.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 3 and 4; the sign is that
    of Yu et al. 2022, section 3.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, poisson(source=1.0, names="xy"))
    """
    return weight * Residual(partial(_poisson, source=source, conductivity=conductivity), names, wrt, at=at)


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

    u: the model, ``[N]`` or ``[N, 1]``. diffusivity: α, and source: f: a number, a tensor (an `nn.Parameter` of yours is learned: the inverse problem) or
    a callable of the field. time: the name of t; the Laplacian is over the other coordinates. names, wrt, at: as in `Residual`.
    When not: backwards in time, where the problem is ill-posed and a small residual says little about the error.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 3 and 4.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, heat(diffusivity=0.1, names="xt"))
    """
    return weight * Residual(partial(_heat, diffusivity=diffusivity, source=source, time=time), names, wrt, at=at)


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

    u: the model, ``[N]`` or ``[N, 1]``. speed: c, and source: f: as in `heat`. time: the name of t. names, wrt, at: as in `Residual`. It wants two
    initial conditions: ``condition(value=u0, at=...)`` and ``condition(value=v0, derivative="t", at=...)``.
    When not: for many periods at once, which networks of tanh units learn slowly, high frequencies last: give the model sines, or take time in pieces.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, eq. 3 and 4.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, wave(speed=2.0, names="xt"))
    """
    return weight * Residual(partial(_wave, speed=speed, source=source, time=time), names, wrt, at=at)


def burgers(
    weight: Weight = 1.0, *, viscosity: Quantity, space: str = "x", time: str = "t", names: Names | None = None, wrt: Wrt | None = None, at: Place | None = None
) -> Weighted:
    """Burgers' equation in one dimension: the residual of ∂u/∂t + u ∂u/∂x = ν ∂²u/∂x².

        weight · mean_n ( ∂u/∂t + u ∂u/∂x − ν ∂²u/∂x² )²        at the points (x_n, t_n)

    u: the model, ``[N]`` or ``[N, 1]``. viscosity: ν, a number (the paper's 0.01/π), a tensor (an `nn.Parameter` of yours is learned) or a callable of the
    field. space, time: the names of x and t. names, wrt, at: as in `Residual`.
    When not: for ν → 0, where the residual at the shock grows like 1/ν² and points spread evenly miss it.

    Source: Raissi, Perdikaris & Karniadakis 2019, "Physics-informed neural networks", Journal of Computational Physics 378, appendix A.1.

    >>> import math
    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, burgers(viscosity=0.01 / math.pi, names="xt"))
    """
    return weight * Residual(partial(_burgers, viscosity=viscosity, space=space, time=time), names, wrt, at=at)


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

    at: where it holds, such as ``Given(boundary)`` or ``Given("boundary")`` for a part of the target; None where the batch's inputs are its points.
    value: g, a number, a tensor ``[N]`` or a callable of the field. derivative: its name, such as "x", or "t" for an initial velocity.
    Of a system, a model of C outputs: one g holds for all of them, and a tensor has the shape ``[N, C]``. For some of them give a dict by their names or
    numbers, ``value={"u": 0.0, "v": inflow}``; outputs: the names of all outputs, as in `Residual`. The squares are averaged over the outputs concerned;
    for weights of their own take a condition for each. names, wrt: as in `Residual`.
    The other ways: as the base loss, where the batch's inputs are the points of the condition (``"mse" + poisson(source=f, names="xy",
    at=Given(interior))``); or
    built into the model, ``g(x) + x (1 − x) net(x)``, where it holds exactly.
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
    return weight * Residual(partial(_condition, value=value, derivative=derivative), names, wrt, outputs, at)


def gradient_enhanced(weight: Weight = 0.01, *, residual: Residual | Weighted) -> TermSum:
    """Gradient-enhanced physics-informed networks (gPINN): the residual and its derivatives by every coordinate.

        residual + weight · mean_n Σ_i (∂r/∂x_i)²        r: the equation's residual, not its square; i: every coordinate, time included

    residual: a `Residual`, or a recipe for one: ``gradient_enhanced(residual=poisson(source=f, names="xy"))``. weight: w_g, 0.01 as in the paper's
    Poisson examples (it
    tries 1 to 1e-4, and 1e-3 and less for some), the same for every coordinate; `ResidualGradient` takes one coordinate with a weight of its own.
    Where the residual has a weight w already, the derivatives have w · w_g.
    When not: at shocks and kinks of u; where steps are dear: it costs one more order of derivatives.

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


def hessian_penalty(
    weight: Weight = 0.1, *, directions: int = 2, epsilon: float = 0.1, reduction: HessianReduction = "max", wrt: Key = 0, layers: tuple[str, ...] = ()
) -> Weighted:
    """The Hessian penalty on a generator: each output should be a sum of functions of one latent component each.

        weight · max_{n,c} Var_v [ (f_c(z_n + εv) − 2 f_c(z_n) + f_c(z_n − εv)) / ε² ],      v ∈ {−1, 1}^D

    z: the latent input; f: the generator, every pixel an output c. The settings: as in `HessianPenalty`, as in the authors' code; layers for some of f's.
    weight: λ, to be ramped up from zero where a trained generator is tuned: a callable of the step number.
    When not: where components of z should act together, or the generator is linear in them anyway.

    Source: Peebles, Peebles, Zhu, Efros & Torralba 2020, "The Hessian penalty: a weak prior for unsupervised disentanglement", ECCV, eq. 2 and 3, theorem 1.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(lambda images, target: -images.mean(), hessian_penalty(lambda step: 0.1 * min(1, step / 1e5)))
    """
    return weight * HessianPenalty(directions, epsilon, reduction, wrt, layers)


def _at(quantity: Quantity, u: Field) -> Any:
    """The quantity at the points; a column ``[N, 1]`` counts as ``[N]``."""
    found = quantity(u) if callable(quantity) and not isinstance(quantity, Tensor) else quantity
    return found[:, 0] if isinstance(found, Tensor) and found.shape == (u.size, 1) else found


def _space(u: Field, time: str) -> list[str]:
    """Every coordinate but the time, which is checked to be one."""
    u.coordinate(time)
    return [name for name in u.names if name != time]


def _poisson(u: Field, source: Quantity, conductivity: Quantity) -> Tensor:
    if isinstance(conductivity, (int, float)):
        return -conductivity * u.laplacian() - _at(source, u)
    k = _at(conductivity, u)
    return -sum(u.of(k * u.d(name), name) for name in u.names) - _at(source, u)


def _heat(u: Field, diffusivity: Quantity, source: Quantity, time: str) -> Tensor:
    return u.d(time) - _at(diffusivity, u) * u.laplacian(*_space(u, time)) - _at(source, u)


def _wave(u: Field, speed: Quantity, source: Quantity, time: str) -> Tensor:
    return u.d(time, time) - _at(speed, u) ** 2 * u.laplacian(*_space(u, time)) - _at(source, u)


def _burgers(u: Field, viscosity: Quantity, space: str, time: str) -> Tensor:
    return u.d(time) + u.value * u.d(space) - _at(viscosity, u) * u.d(space, space)


def _condition(u: Field, value: Quantity | Mapping[str | int, Quantity], derivative: str | None) -> tuple[Tensor, ...]:
    if isinstance(value, Mapping):
        return tuple(_valued(u.part(which), derivative) - _one(u, which, given) for which, given in value.items())
    here, wanted = _valued(u, derivative), _at(value, u)
    if isinstance(wanted, Tensor) and wanted.dim() and wanted.shape != here.shape:
        several = "; for some of the outputs give a dict, such as value={0: 0.0}" if here.dim() == 2 else ""
        raise ValueError(f"condition: value has shape {list(wanted.shape)}; expected a number or {list(here.shape)}, as the model's output there{several}")
    return (here - wanted).unbind(1) if here.dim() == 2 else (here - wanted,)


def _one(u: Field, which: str | int, value: Quantity) -> Any:
    wanted = _at(value, u)
    if isinstance(wanted, Tensor) and wanted.dim() and wanted.shape != (u.size,):
        raise ValueError(f"condition: the value of output {which!r} has shape {list(wanted.shape)}; expected a number or one per point, [{u.size}]")
    return wanted


def _valued(u: Field, derivative: str | None) -> Tensor:
    return u.value if derivative is None else u.d(derivative)
