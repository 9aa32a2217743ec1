"""Signed distances: networks whose zero is a given surface and whose gradient has length 1."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.heads import Of
from inputgrad.loss import InputGradientLoss
from inputgrad.places.base import Place
from inputgrad.places.sampling import Near
from inputgrad.tensor_refs import part_of_target
from inputgrad.terms.base import Weighted
from inputgrad.terms.direction_match import DirectionMatch
from inputgrad.terms.gradient_match import GradientMatch
from inputgrad.terms.gradient_norm import GradientNorm
from inputgrad.terms.weights import Weight
from inputgrad.variables import Key

Part = str | int
"""A name or a position of the target."""


def eikonal(weight: Weight = 0.1, *, squared: bool = True, of: Of = "output", wrt: Key = 0, at: Place | None = None) -> Weighted:
    """The eikonal equation ‖∇f‖ = 1, which a distance satisfies.

        λ · mean_n (‖∂f(x_n)/∂x_n‖₂ − 1)²

    weight: λ, the factor of the term, 0.1 as in IGR.
    squared: whether the deviation is squared, as in IGR; False is SIREN's |‖∇f‖ − 1|, with λ = 50 there.
    of: what is differentiated; the output by default.
    wrt: the input that holds the points.
    at: where the gradient is taken; the inputs themselves by default, `inputgrad.places.Uniform` or `Near` for points that are drawn.
    f: the model, one output per point.

    When not: by itself, since every function with slopes of length 1 satisfies it: give the surface too (`igr`, `siren`). Where the distance is known, fit it.
    Source: Gropp, Yariv, Haim, Atzmon & Lipman 2020, "Implicit geometric regularization for learning shapes", ICML.

    >>> import inputgrad as ig
    >>> criterion = ig.InputGradientLoss(lambda output, _: output.abs(), eikonal(0.1))
    """
    return weight * GradientNorm(center=1, power=2 if squared else 1, of=of, wrt=wrt, at=at)


def distance_to_zero(output: Tensor, target: Any) -> Tensor:
    """|f(x)| of each point: the base loss of points on the surface, whatever the target."""
    return output.abs().flatten(1).sum(1) if output.dim() > 1 else output.abs()


AROUND_SAMPLES = Near("sigma")


def igr(weight: Weight = 0.1, *, normals: Part | None = "normals", normals_weight: Weight = 1.0, at: Place = AROUND_SAMPLES, wrt: Key = 0) -> InputGradientLoss:
    """Implicit geometric regularisation (IGR): a signed distance from points on the surface, with or without normals. The whole loss.

        mean_n |f(x_n)| + τ · mean_n ‖∂f(x_n)/∂x_n − ν_n‖₂ + λ · E_x (‖∂f(x)/∂x‖₂ − 1)²

    weight: λ, 0.1 as published.
    normals: the name or position in the target of the unit normals ν, ``[N, D]``; None leaves that term out.
    normals_weight: τ, 1 as published.
    at: the points of the expectation; by default `Near`, the paper's: every sample displaced by normal noise of the width ``target["sigma"]``, ``[N]`` (the
      distance to its 50th neighbour), and N/8 points uniform in [−1.8, 1.8]^D, as in the authors' code.
    wrt: as in `eikonal`.
    x_n: points on the surface, the inputs, ``[N, D]``.

    The target is a dict or tuple. The distance of the normals is a norm, not its square.

    When not: without normals the sign is for the initialisation to decide: start from a ball (geometric initialisation, Atzmon & Lipman 2020).
    Source: Gropp, Yariv, Haim, Atzmon & Lipman 2020, "Implicit geometric regularization for learning shapes", ICML, the loss with normals.

    >>> criterion = igr()  # criterion(model, points, {"normals": normals, "sigma": sigma})
    """
    terms: list[Any] = [eikonal(weight, wrt=wrt, at=at)]
    if normals is not None:
        terms.append(normals_weight * GradientMatch(normals, norm="euclidean", wrt=wrt))
    return InputGradientLoss(distance_to_zero, terms)


@dataclass(frozen=True)
class SurfaceOrNot:
    """SIREN's base loss, one number per point: a·|f(x)| on the surface, b·exp(−α|f(x)|) off it.

    on_surface: the part of the target, ``[N]`` or ``[N, 1]``, that is not 0 on the surface. surface, off_surface, sharpness: a, b and α.
    """

    on_surface: Part = "on_surface"
    surface: float = 3000.0
    off_surface: float = 100.0
    sharpness: float = 100.0

    def __post_init__(self) -> None:
        for name in ("surface", "off_surface", "sharpness"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"SurfaceOrNot: {name} must be at least 0 and finite, got {getattr(self, name)!r}")

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        mask, distance = part_of_target("SurfaceOrNot: on_surface", self.on_surface, target), output.abs()
        if not isinstance(mask, Tensor) or mask.numel() != output.shape[0] or output.numel() != output.shape[0]:
            got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(
                f"SurfaceOrNot needs one output per point and one number per point in on_surface, [{output.shape[0]}]; got {list(output.shape)} and {got}"
            )
        on = (mask.to(output.device) != 0).reshape(output.shape)
        return torch.where(on, self.surface * distance, self.off_surface * torch.exp(-self.sharpness * distance)).flatten()


def siren(
    *,
    eikonal_weight: Weight = 50.0,
    normals_weight: Weight = 100.0,
    surface: float = 3000.0,
    off_surface: float = 100.0,
    sharpness: float = 100.0,
    on_surface: Part = "on_surface",
    normals: Part = "normals",
    wrt: Key = 0,
) -> InputGradientLoss:
    """SIREN's loss of a signed distance: points on the surface with normals, and others in space, in one batch. The whole loss.

        mean_n [ 50 · |‖∂f(x_n)/∂x_n‖₂ − 1| + m_n · (3000 · |f(x_n)| + 100 · (1 − cos(∂f(x_n)/∂x_n, ν_n))) + (1 − m_n) · 100 · exp(−100 |f(x_n)|) ]

    eikonal_weight: the 50 of the formula, the weight of the eikonal term.
    normals_weight: the 100 before the cosine, the weight of the normals.
    surface: the 3000 of the formula, the weight of |f| on the surface.
    off_surface: the 100 before exp, the weight of the points off the surface.
    sharpness: the 100 inside exp: how fast it falls with the distance.
    on_surface: the name or position in the target of m, ``[N]``: 1 on the surface, 0 off it.
    normals: the name or position in the target of the unit normals ν, ``[N, 3]``, of any value off the surface.
    wrt: as in `eikonal`.
    x_n: points, the inputs, ``[N, 3]``.

    Every mean is over ALL points of the batch, as in the authors' code, so that the share of the surface points counts. The loss is one number per sample,
    with zeros where a mask is off, and splits into micro-batches. The paper's formula has the inner product with the normal where the code, followed here,
    has the cosine; the weights are the code's. The deviation of the gradient's norm enters by |·|, not squared as in IGR.

    When not: for networks of ReLU units, whose gradient is constant piece by piece and cannot turn with the surface; the weights are for points in [−1, 1]³.
    Source: Sitzmann, Martel, Bergman, Lindell & Wetzstein 2020, "Implicit neural representations with periodic activation functions", NeurIPS, its loss of
    signed distances.

    >>> criterion = siren()  # criterion(model, points, {"on_surface": mask, "normals": normals})
    """
    base = SurfaceOrNot(on_surface, surface, off_surface, sharpness)
    aligned = normals_weight * DirectionMatch(normals, mask=on_surface, wrt=wrt)
    return InputGradientLoss(base, [eikonal(eikonal_weight, squared=False, wrt=wrt), aligned])
