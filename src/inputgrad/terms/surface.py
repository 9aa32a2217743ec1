"""Surfaces from points without normals: pulling points onto the surface, and second derivatives of a signed distance."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.heads import Of
from inputgrad.operators.batch_fields import field_of_batch
from inputgrad.operators.fields import Field
from inputgrad.passes.flat_models import warn_if_field_is_flat
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_match import root, shaped
from inputgrad.variables import Key


@dataclass(frozen=True, eq=False)
class Pull(Term):
    """A query point, moved by the predicted distance against the predicted gradient, lands on its nearest surface point.

        R_n = ‖t_n − (q_n − f(q_n) ∇f(q_n)/‖∇f(q_n)‖₂)‖₂,   with squared=True its square

    nearest: t, the surface point nearest to each query, ``[N, D]``: the target itself by default, a name or position in it, a tensor, or a callable of the
    batch; NaN where it is not known, which gives 0.
    squared: whether the distance is squared.
    of: f, the signed distance; the output by default.
    wrt: the query points q, ``[N, D]``.

    At ∇f = 0 the point stays where it is.

    When not: where distances are known: fit them.

    Source: Ma, Han, Liu & Zwicker 2021, "Neural-Pull: learning signed distance functions from point clouds by learning to pull space onto surfaces", ICML.

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, Pull())
    """

    nearest: TensorRef | None = None
    squared: bool = False
    of: Of = "output"
    wrt: Key = 0

    def __post_init__(self) -> None:
        if self.nearest is not None:
            check_tensor_ref("Pull: nearest", self.nearest)

    @classmethod
    def example(cls) -> "Pull":
        return cls(lambda batch: torch.zeros_like(batch.variable(0)))

    def __call__(self, batch: Batch) -> Tensor:
        gradient = widened(batch.gradient(of=self.of, wrt=self.wrt))
        query = batch.variable(self.wrt).to(gradient)
        given = batch.target if self.nearest is None else resolve_tensor("Pull: nearest", self.nearest, batch)
        if not isinstance(given, Tensor) or query.dim() != 2:
            raise TypeError("Pull: the inputs are points [N, D], and the target their nearest surface points, a tensor [N, D]; or name them with nearest=")
        distance = batch.scores(batch.output, self.of).to(gradient)
        length = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        direction = torch.where(length > 0, gradient / torch.where(length > 0, length, 1), 0)
        surface = shaped("Pull: nearest", given, query)
        known = ~surface.isnan().any(1, keepdim=True)
        square = torch.where(known, surface.nan_to_num() - query + distance[:, None] * direction, 0).square().sum(1)
        return square if self.squared else root(square)


@dataclass(frozen=True, eq=False)
class _InSpace(Term):
    """What terms on a signed distance in space have in common: the points, drawn once for all that share the place, and the field of the distance."""

    at: Place | None = None
    wrt: Key = 0

    def variables(self) -> tuple[Key, ...]:
        return () if self.at is None else (self.wrt,)

    def __call__(self, batch: Batch) -> Tensor:
        size = batch.variable(self.wrt).shape[1]
        u = field_of_batch(batch, tuple(f"x{i}" for i in range(size)), self.wrt, None, self.at, _InSpace)
        if u.value.dim() != 1:
            raise ValueError(f"{type(self).__name__}: the model must give one distance per point, [N] or [N, 1]; got {list(u.value.shape)}")
        quantity = self.quantity(u)
        warn_if_field_is_flat(type(self).__name__, batch.model, u)
        return quantity

    @abstractmethod
    def quantity(self, u: Field) -> Tensor:
        """R ``[N]`` of the distance."""


@dataclass(frozen=True, eq=False)
class NotOnSurface(_InSpace):
    """Points in space are not on the surface: their distance is not zero.

        R_n = exp(−α |f(x_n)|)

    at: the points, such as ``Uniform(-1.1, 1.1)``; the inputs themselves by default.
    wrt: the input that holds the points.
    sharpness: α, 100 as in SIREN.

    When not: at points on the surface.

    Source: Sitzmann, Martel, Bergman, Lindell & Wetzstein 2020, "Implicit neural representations with periodic activation functions", NeurIPS.

    >>> from inputgrad import InputGradientLoss, Uniform
    >>> criterion = InputGradientLoss(None, 100.0 * NotOnSurface(Uniform(-1.1, 1.1)))
    """

    sharpness: float = 100.0

    def quantity(self, u: Field) -> Tensor:
        return torch.exp(-self.sharpness * u.value.abs())


@dataclass(frozen=True, eq=False)
class UnitSlope(_InSpace):
    """The gradient of a signed distance has length 1.

        R_n = |‖∇f(x_n)‖₂ − 1|

    at, wrt: as in `NotOnSurface`.

    ``GradientNorm(center=1, power=1, at=...)`` has the same value, and works with every engine. This term costs less beside `NotOnSurface` and
    `SmallDivergence` at the same place: the points are drawn once, and the three share one pass.

    When not: by itself; see `inputgrad.recipes.eikonal`.

    Source: Gropp, Yariv, Haim, Atzmon & Lipman 2020, "Implicit geometric regularization for learning shapes", ICML; without the square as in SIREN.

    >>> from inputgrad import InputGradientLoss, Uniform
    >>> criterion = InputGradientLoss(None, 50.0 * UnitSlope(Uniform(-1.1, 1.1)))
    """

    def quantity(self, u: Field) -> Tensor:
        return (root(u.gradient().square().sum(1)) - 1).abs()


@dataclass(frozen=True, eq=False)
class SmallDivergence(_InSpace):
    """The gradient field of a distance has no sources in space: its divergence is small.

        R_n = clamp(|Δf(x_n)|, low, high),   with squared=True of its square

    at, wrt: as in `NotOnSurface`.
    low, high: 0.1 and 50 as in the authors' code; outside them the term has no gradient.
    squared: whether Δf is squared before it is clamped.

    When not: at the end of training, for detail is of high curvature: let the weight fall to 0.

    Source: Ben-Shabat, Hewa Koneputugodage & Gould 2022, "DiGS: divergence guided shape implicit neural representation for unoriented point clouds", CVPR.

    >>> from inputgrad import InputGradientLoss, Uniform
    >>> criterion = InputGradientLoss(None, 100.0 * SmallDivergence(Uniform(-1.1, 1.1)))
    """

    low: float = 0.1
    high: float = 50.0
    squared: bool = False

    def quantity(self, u: Field) -> Tensor:
        divergence = u.laplacian()
        return (divergence.square() if self.squared else divergence.abs()).clamp(self.low, self.high)


@dataclass(frozen=True, eq=False)
class SingularHessian(_InSpace):
    """The Hessian of a distance is singular, since its gradient has length 1 along itself.

        R_n = |det ∂²f/∂x∂x|

    at: points near the surface, such as ``Near("sigma", share=0.0)``; the inputs themselves by default.
    wrt: the input that holds the points.

    When not: for networks of ReLU units, whose second derivative is zero.

    Source: Wang, Zhang, Xu, Zhang, Wang, Chen, Xin, Wang & Tu 2023, "Neural-Singular-Hessian: implicit neural representation of unoriented point clouds by
    enforcing singular Hessian", ACM Transactions on Graphics 42(6).

    >>> from inputgrad import InputGradientLoss
    >>> criterion = InputGradientLoss(None, 3.0 * SingularHessian())
    """

    def quantity(self, u: Field) -> Tensor:
        rows = [torch.stack([u.d(a, b) for b in u.names], 1) for a in u.names]
        return torch.linalg.det(widened(torch.stack(rows, 1))).abs()
