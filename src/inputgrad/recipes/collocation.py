"""Collocation: which points of a differential equation are trained on, and how much each counts.

`causal` and `self_adaptive` weigh the points of a residual. `rad_points` and `rar_points` choose points by the residual, between steps: call them every
thousand steps or so, and train on what they return.
"""

from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.operators.functions import field
from inputgrad.places.sampling import Bound, check_box, in_box, read_bound
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import Term, Weighted
from inputgrad.terms.causal import CausalResidual
from inputgrad.terms.residual import Residual
from inputgrad.terms.self_adaptive import SelfAdaptive


def causal(residual: Residual | Weighted, *, epsilon: float | Tensor = 1.0, segments: int = 32, time: str = "t") -> Weighted:
    """Causal training of a physics-informed network: later times wait until earlier ones are solved.

        1/M Σ_i w_i · mean over segment i of r²,   w_i = exp(−ε Σ_{k<i} L_k), constant,   L_k: the mean of r² over segment k

    residual: a `Residual`, or a recipe for one, whose weight stays: ``causal(heat(diffusivity=0.1, names="xt"))``.
    epsilon: ε, a number, or a tensor that you raise while you train; see `CausalResidual`, also for ``weights``, by which the authors decide when to raise
      it.
    segments: M, the number of stretches of time into which the batch's points are cut; 32 in most of the authors' scripts.
    time: the name of the time coordinate.
    r: the residual of the equation.

    The authors' code adds the initial condition's loss, times 1e3 or 1e5, to the sum in the exponent of some examples; here the sum is the paper's.

    When not: without a time; where the points of a batch cover a short stretch of time only.

    Source: Wang, Sankaran & Perdikaris 2024, "Respecting causality for training physics-informed neural networks", Computer Methods in Applied Mechanics and
    Engineering 421, 116813 (arXiv:2203.07404 of 2022).

    >>> from inputgrad import InputGradientLoss
    >>> from inputgrad.recipes.physics_informed import heat
    >>> criterion = InputGradientLoss(None, causal(heat(diffusivity=0.1, names="xt"), segments=8))
    """
    part, term = residual_of("causal", residual)
    weighted = CausalResidual(term.function, term.names, term.wrt, term.outputs, term.at, epsilon, segments, time)
    return Weighted(weighted, part.weight, part.every, part.fraction)


def self_adaptive(term: Term | Weighted, *, weights: TensorRef) -> Weighted:
    """Self-adaptive weights: one weight per point, trained to maximise the loss while the network minimises it.

        mean_n λ_n² · R_n,   λ ascends on it

    term: a term, or a recipe that gives one, whose weight stays: ``self_adaptive(burgers(viscosity=0.01, names="xt"), weights=weights)``.
    weights: λ, ``[N]``, an `nn.Parameter` with an optimiser of its own, ``Adam([weights], lr=0.005, maximize=True)``, as in the authors' script for Burgers'
      equation, where they start from 100 for the residual and from U(0, 1) for the initial condition.
    R_n: the term's value at point n, in the paper the squared residual.

    Of the paper's masks m(λ) this is λ².

    When not: where points are drawn anew at each step; where weights must stay bounded.

    Source: McClenny & Braga-Neto 2023, "Self-adaptive physics-informed neural networks", Journal of Computational Physics 474, 111722 (arXiv:2009.04544 of
    2020).

    >>> from inputgrad import InputGradientLoss
    >>> from inputgrad.recipes.physics_informed import burgers
    >>> weights = nn.Parameter(100 * torch.ones(256))
    >>> criterion = InputGradientLoss(None, self_adaptive(burgers(viscosity=0.01, names="xt"), weights=weights))
    """
    (part,) = term.weighted()
    return Weighted(SelfAdaptive(part.term, weights), part.weight, part.every, part.fraction)


def rad_points(
    residual: Residual | Weighted, model: nn.Module, n: int, low: Bound, high: Bound, *, k: float = 1.0, c: float = 1.0, candidates: int = 100_000
) -> Tensor:
    """Residual-based adaptive distribution (RAD): ``n`` new points, drawn with a density that grows with the residual.

        p(x) ∝ |r(x)|^k / mean |r|^k + c        over all candidates, points uniform in the box, without repetition

    residual: a `Residual` or a recipe for one; for several equations |r| is the root of their mean square.
    model: the network, called on the candidates.
    n: how many points are drawn.
    low, high: the box, tensors or lists of the shape of one point, ``[D]``.
    k, c: the exponent and the constant of the density, 1 and 1 as published.
    candidates: the number of points the choice is made from, 100 000 as in the authors' scripts.

    Returns ``[n, D]``, of the model's type and without a graph; train on them for some steps (1000 of Adam, then L-BFGS there), and call it again.

    When not: where the solution is smooth everywhere: uniform points do as well.

    Source: Wu, Zhu, Tan, Kartha & Lu 2023, "A comprehensive study of non-adaptive and residual-based adaptive sampling for physics-informed neural networks",
    Computer Methods in Applied Mechanics and Engineering 403, 115671.

    >>> from inputgrad.recipes.physics_informed import burgers
    >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    >>> rad_points(burgers(viscosity=0.01, names="xt"), net, 50, [-1.0, 0.0], [1.0, 1.0], candidates=500).shape
    torch.Size([50, 2])
    """
    points, sizes = _candidates(residual, model, low, high, candidates)
    return points[_density(sizes, k, c).multinomial(n)]


def rar_points(
    residual: Residual | Weighted,
    model: nn.Module,
    points: Tensor,
    add: int,
    low: Bound,
    high: Bound,
    *,
    greedy: bool = True,
    k: float = 2.0,
    c: float = 0.0,
    candidates: int = 100_000,
) -> Tensor:
    """Residual-based adaptive refinement (RAR): the points so far and ``add`` more, where the residual is largest.

        greedy (RAR-G): the candidates with the largest |r|;   else (RAR-D): p(x) ∝ |r(x)|^k / mean |r|^k + c

    residual, model, low, high, candidates: as in `rad_points`.
    points: those trained on so far, ``[N, D]``.
    add: how many points are added; the authors add 10 to 1000 at a time.
    greedy: True for RAR-G, False for RAR-D.
    k, c: the exponent and the constant of RAR-D's density, 2 and 0 as published.

    Returns ``[N + add, D]``.

    When not: for long runs, since the set only grows; take `rad_points`.

    Source: Wu, Zhu, Tan, Kartha & Lu 2023, "A comprehensive study of non-adaptive and residual-based adaptive sampling for physics-informed neural networks",
    Computer Methods in Applied Mechanics and Engineering 403, 115671.

    >>> from inputgrad.recipes.physics_informed import heat
    >>> net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    >>> rar_points(heat(diffusivity=0.1, names="xt"), net, torch.rand(100, 2), 10, torch.zeros(2), torch.ones(2), candidates=500).shape
    torch.Size([110, 2])
    """
    drawn, sizes = _candidates(residual, model, low, high, candidates)
    chosen = sizes.topk(add).indices if greedy else _density(sizes, k, c).multinomial(add)
    return torch.cat([points, drawn[chosen].to(points)])


def residual_of(name: str, residual: Any) -> tuple[Weighted, Residual]:
    """The one residual, with its weight and by itself. Raises `TypeError` for anything else."""
    parts = residual.weighted() if isinstance(residual, (Term, Weighted)) else ()
    if len(parts) == 1 and isinstance(parts[0].term, Residual):
        return parts[0], parts[0].term
    raise TypeError(f"{name} takes a Residual or a recipe for one, such as heat(diffusivity=0.1, names='xt'), got {residual!r}")


def _candidates(residual: Any, model: nn.Module, low: Bound, high: Bound, count: int) -> tuple[Tensor, Tensor]:
    """Points uniform in the box ``[count, D]``, and |r| at each ``[count]``; both without a graph."""
    _, term = residual_of("residual-based sampling", residual)
    low, high = read_bound(low), read_bound(high)
    check_box("residual-based sampling", low, high)
    if not isinstance(low, Tensor) or low.dim() != 1:
        raise TypeError("residual-based sampling: low must hold one number for each coordinate, [D], such as [-1.0, 0.0]")
    points = in_box("residual-based sampling", low, high, count, next(model.parameters()).new_empty(0, len(low)))
    sizes = []
    for part in points.split(10_000):
        u = field(model, part, term.names, term.wrt, term.outputs)
        sizes.append(torch.stack([r.detach().square() for r in term.equations(u)]).mean(0).sqrt())
    return points, torch.cat(sizes)


def _density(sizes: Tensor, k: float, c: float) -> Tensor:
    """|r|^k / mean |r|^k + c, up to a factor."""
    powers = sizes**k
    return powers / powers.mean() + c
