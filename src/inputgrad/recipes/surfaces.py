"""Surfaces from points without normals: signed distances by pulling, by small divergence, and by a singular Hessian."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.loss import InputGradientLoss
from inputgrad.places.base import Place
from inputgrad.places.sampling import Near, Uniform
from inputgrad.recipes.geometry import distance_to_zero, eikonal
from inputgrad.tensor_refs import TensorRef
from inputgrad.terms.base import Weighted
from inputgrad.terms.surface import NotOnSurface, Pull, SingularHessian, SmallDivergence, UnitSlope
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key

IN_SPACE = Uniform(-1.1, 1.1)
NEAR_SURFACE = Near("sigma", share=0.0)


def neural_pull(weight: Weight = 1.0, *, nearest: TensorRef | None = None, squared: bool = False, wrt: Key = 0) -> Weighted:
    """Neural-Pull: a query point, moved by the predicted distance against the gradient, lands on its nearest surface point.

        mean_n ‖t_n − (q_n − f(q_n) ∇f(q_n)/‖∇f(q_n)‖₂)‖₂

    weight: the factor of the term in the loss.
    nearest: t, the surface point nearest to each query, ``[N, D]``; the target itself by default.
    squared: whether the distance is squared, as in the paper's equation; False is the length, as in the authors' code.
    wrt: as in `eikonal`.
    q: query points, the inputs, ``[N, D]``: in the paper each surface point displaced by normal noise of the width of its distance to its 50th neighbour.
    f: the model, one output per point.

    When not: where distances are known: fit them; for thin sheets, where the nearest point is on the wrong side.

    Source: Ma, Han, Liu & Zwicker 2021, "Neural-Pull: learning signed distance functions from point clouds by learning to pull space onto surfaces", ICML.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(None, neural_pull())  # criterion(model, queries, nearest)
    """
    return weight * Pull(nearest, squared, wrt=wrt)


def digs(
    *,
    divergence_weight: Weight = 100.0,
    eikonal_weight: Weight = 50.0,
    surface: float = 3000.0,
    off_surface: Weight = 100.0,
    sharpness: float = 100.0,
    squared: bool = False,
    at: Place = IN_SPACE,
    wrt: Key = 0,
) -> InputGradientLoss:
    """DiGS: a signed distance from points without normals, with a gradient field of small divergence. The whole loss.

        3000 · mean_n |f(x_n)| + 100 · E_z exp(−100 |f(z)|) + 25 · (mean_n |‖∇f(x_n)‖₂ − 1| + E_z |‖∇f(z)‖₂ − 1|) + w · E_z clamp(|Δf(z)|, 0.1, 50)

    divergence_weight: w, 100; in the authors' runs it stays until 20 % of the steps, falls to 0 at 40 %, and stays there: ``lambda step: 100 * min(1, max(0,
      2 - 5 * step / steps))``.
    eikonal_weight: the weight of the eikonal term, 50 over both kinds of points together: 25 for each.
    surface: the 3000 of the formula, the weight of |f| on the surface.
    off_surface: the 100 before exp, the weight of the points off the surface.
    sharpness: the 100 inside exp: how fast it falls with the distance.
    squared: True clamps (Δf)² in place of |Δf|, "l2" in the authors' code.
    at: the points z, by default as many as the inputs, uniform in [−1.1, 1.1]^D, as in the authors' code, the same for every part.
    wrt: as in `eikonal`.
    x_n: points on the surface, the inputs, ``[N, D]``.

    There is no target. With normals take `siren`, and add a `SmallDivergence`.

    When not: for networks of ReLU units, whose Laplacian is zero; the authors take sines with an initialisation of their own.

    Source: Ben-Shabat, Hewa Koneputugodage & Gould 2022, "DiGS: divergence guided shape implicit neural representation for unoriented point clouds", CVPR, and
    their code.

    >>> criterion = digs()  # criterion(model, points)
    """
    half = 0.5 * (eikonal_weight * UnitSlope(at, wrt))
    on_surface = 0.5 * eikonal(eikonal_weight, squared=False, wrt=wrt)
    terms = [off_surface * NotOnSurface(at, wrt, sharpness), on_surface, half, divergence_weight * SmallDivergence(at, wrt, squared=squared)]
    return InputGradientLoss(OnTheSurface(surface), terms)


def neural_singular_hessian(
    *,
    hessian_weight: Weight = 3.0,
    eikonal_weight: Weight = 50.0,
    surface: float = 7000.0,
    off_surface: Weight = 600.0,
    sharpness: float = 100.0,
    near: Place = NEAR_SURFACE,
    at: Place = IN_SPACE,
    wrt: Key = 0,
) -> InputGradientLoss:
    """Neural-Singular-Hessian: a signed distance from points without normals, with a singular Hessian near the surface. The whole loss.

        7000 · mean_n |f(x_n)| + 600 · E_z exp(−100 |f(z)|) + 50 · mean_n |‖∇f(x_n)‖₂ − 1| + w/2 · E_u |det ∂²f(u)/∂u∂u|

    hessian_weight: w, 3; in the authors' script it stays until 20 % of the steps, falls to 0.001 at 40 %, and to 0.0001 at the end.
    eikonal_weight: the 50 of the formula, the weight of the eikonal term.
    surface: the 7000 of the formula, the weight of |f| on the surface.
    off_surface: the 600 of the formula, the weight of the points off the surface.
    sharpness: the 100 inside exp: how fast it falls with the distance.
    near: the points u, by default each x_n displaced by normal noise of the width ``target["sigma"]``, ``[N]``, its distance to its 50th neighbour.
    at: the points z, by default as many as the inputs, uniform in [−1.1, 1.1]^D.
    wrt: as in `eikonal`.
    x_n: points on the surface, the inputs, ``[N, D]``.

    The ½ and the weights are those of the authors' script.

    When not: for networks of ReLU units, whose second derivative is zero; the authors take sines.

    Source: Wang, Zhang, Xu, Zhang, Wang, Chen, Xin, Wang & Tu 2023, "Neural-Singular-Hessian: implicit neural representation of unoriented point clouds by
    enforcing singular Hessian", ACM Transactions on Graphics 42(6), and their code.

    >>> criterion = neural_singular_hessian()  # criterion(model, points, {"sigma": sigma})
    """
    singular = 0.5 * (hessian_weight * SingularHessian(near, wrt))
    return InputGradientLoss(OnTheSurface(surface), [off_surface * NotOnSurface(at, wrt, sharpness), eikonal(eikonal_weight, squared=False, wrt=wrt), singular])


@dataclass(frozen=True)
class OnTheSurface:
    """weight · |f(x)| of each point, whatever the target: the base loss of points on the surface."""

    weight: float

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return self.weight * distance_to_zero(output, target)
