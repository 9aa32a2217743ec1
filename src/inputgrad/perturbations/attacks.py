"""Perturbations of several steps and random ones: noise, PGD, the virtual adversarial direction, and what losses on curvature and linearity need.

Each is a constant for the parameter gradient: the steps go along detached gradients, never through a projection or a clamp. The model is used in the mode
in which it stands, on the step's own dropout masks, without a trace in its running statistics. Knows what a batch offers; knows no term and no engine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.perturbations.base import Bounds, Move, Perturbation, Scaling, check_bounds, check_move, check_perturbation, check_scaling, lengths
from inputgrad.perturbations.base import moved as moved
from inputgrad.perturbations.base import scaled as scaled
from inputgrad.perturbations.base import warn_if_outside as warn_if_outside
from inputgrad.perturbations.divergences import DIVERGENCES, Divergence, check_divergence, divergence
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.torch_internals.draws import normal_like, uniform_like
from inputgrad.variables import Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch

Draw = Literal["uniform", "normal", "ball", "inscribed"]
Norm = Literal["linf", "l2"]


@dataclass(frozen=True, eq=False)
class Noise(Perturbation):
    """x̃ = clip(x + size·u), u drawn anew at each call.

    size: the factor of u, in units of the input.
    draw: "uniform", each feature of u in U(−1, 1); "normal", each N(0, 1); "ball", uniform in the unit ball of ‖·‖₂ of a sample; "inscribed", each feature
    in U(−1, 1)/√D, the cube inside that ball (D features that move; FreeLB's start).
    bounds: (low, high) into which x̃ is clipped; None for no bounds. wrt: the input that is moved. mask: which positions move, ``[N, ...]`` as far as the
    input's shape goes, such as the mask of padding ``[N, T]`` beside embeddings ``[N, T, E]``: a tensor, a name or position in the target, or a callable.
    """

    size: float
    draw: Draw = "uniform"
    bounds: Bounds = None
    wrt: Key = 0
    mask: TensorRef | None = None

    def __post_init__(self) -> None:
        check_radius("Noise: size", self.size)
        check_choice("Noise: draw", self.draw, Draw)
        check_bounds(self.bounds)
        _check_mask("Noise", self.mask)

    def __call__(self, batch: "Batch") -> Tensor:
        x = batch.variable(self.wrt)
        warn_if_outside(self, x, self.bounds)
        step = masked(self._drawn(x), open_to := opened("Noise", self.mask, batch, x))
        if self.draw == "inscribed":
            step = step / lengths(torch.ones_like(x) if open_to is None else open_to, 2).clamp(min=1)
        return clipped(x + self.size * step, self.bounds).to(x.dtype)

    def _drawn(self, x: Tensor) -> Tensor:
        if self.draw in ("uniform", "inscribed"):
            return 2 * uniform_like(x) - 1
        normal = normal_like(x)
        if self.draw == "normal":
            return normal
        radius = uniform_like(lengths(x, 2)) ** (1 / max(1, x[0].numel()))
        return scaled(normal, "unit") * radius


@dataclass(frozen=True, eq=False)
class PGD(Perturbation):
    """Projected gradient steps up (or down) a score, in a ball of radius ε around x: x_{t+1} = Π(x_t ± step_size·d_t).

    epsilon: ε, the radius of the ball, in units of the input. steps: how many; 0 is the start alone.
    step_size: the length of a step; 2.5·ε/steps by default (Madry et al. 2018).
    norm: of the ball, "linf" (d = sign(g)) or "l2" (d = g/‖g‖₂ per sample; a sample with g = 0 stays where it is).
    start: "uniform" in the ball, "none" for x itself, or a perturbation such as ``Noise(0.001, "normal")``. From x itself, where a divergence is least,
    the first step follows the sign of rounding errors.
    of: the score: "loss", any head, or the divergence "kl", "reverse_kl", "symmetric_kl" or "mse" of the output from the output at x.
    move: "ascend" (+: up the score) or "descend" (−: down the score).
    scaling: another d than that of the norm: "sign", "unit" (g/‖g‖₂), "max" (g/‖g‖∞ per sample) or "none" (g itself).
    bounds: (low, high) to which x_t is clipped, such as (0, 1) for images; None for no bounds.
    order: in an L2 ball, "project_first" and then clip (foolbox), or "clip_first" and then project (TRADES).
    wrt: the input that is attacked. mask: which positions move, as in `Noise`.

    Costs one pass per step, forward and backward. ``path(batch)`` gives every x_t.

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks", ICLR.
    """

    epsilon: float
    steps: int = 10
    step_size: float | None = None
    norm: Norm = "linf"
    start: "Literal['uniform', 'none'] | Perturbation | Callable[[Batch], Tensor]" = "uniform"
    of: Of = "loss"
    move: Move = "ascend"
    scaling: Scaling | None = None
    bounds: Bounds = None
    order: Literal["project_first", "clip_first"] = "project_first"
    wrt: Key = 0
    mask: TensorRef | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        check_radius(f"{name}: epsilon", self.epsilon)
        check_count(f"{name}: steps", self.steps, 0)
        if self.step_size is not None:
            check_radius(f"{name}: step_size", self.step_size)
        check_choice(f"{name}: norm", self.norm, Norm)
        check_choice(f"{name}: order", self.order, Literal["project_first", "clip_first"])
        if isinstance(self.start, str):
            check_choice(f"{name}: start", self.start, Literal["uniform", "none"])
        else:
            check_perturbation(f"{name}: start", self.start)
        check_move(self.move)
        check_scaling(self.scaling or "sign")
        check_bounds(self.bounds)
        _check_mask(name, self.mask)

    def __call__(self, batch: "Batch") -> Tensor:
        return self.path(batch)[-1]

    def path(self, batch: "Batch") -> list[Tensor]:
        """x_0, the start, to x_steps."""
        x = batch.variable(self.wrt)
        warn_if_outside(self, x, self.bounds)
        open_to = opened(type(self).__name__, self.mask, batch, x)
        size = 2.5 * self.epsilon / max(1, self.steps) if self.step_size is None else self.step_size
        scaling: Scaling = self.scaling or ("sign" if self.norm == "linf" else "unit")
        points = [self._started(batch, x)]
        for _ in range(self.steps):
            gradient = masked(self.uphill(batch, points[-1]), open_to)
            points.append(self._projected(x, moved(points[-1], gradient, size, move=self.move, scaling=scaling, bounds=None)))
        return points

    def uphill(self, batch: "Batch", point: Tensor) -> Tensor:
        """The gradient, at ``point``, of what is to grow."""
        gradient = batch.gradient_at(point, of=score(self.of, batch), wrt=self.wrt)
        if gradient.shape != point.shape:
            raise ValueError(f"PGD needs a head of one score per sample, and {self.of!r} gave a gradient of shape {list(gradient.shape)}")
        return gradient

    def _started(self, batch: "Batch", x: Tensor) -> Tensor:
        if self.start == "none":
            return x
        if isinstance(self.start, str):
            return clipped(Noise(self.epsilon, "uniform" if self.norm == "linf" else "ball", None, self.wrt, self.mask)(batch), self.bounds)
        return self.start(batch).detach()

    def _projected(self, x: Tensor, point: Tensor) -> Tensor:
        if self.norm == "linf":
            return clipped(torch.minimum(torch.maximum(point, x - self.epsilon), x + self.epsilon), self.bounds)
        if self.order == "clip_first":
            point = clipped(point, self.bounds)
        delta = point - x
        length = lengths(delta, 2)
        delta = torch.where(length > self.epsilon, delta * (self.epsilon / length.clamp(min=torch.finfo(length.dtype).tiny)), delta).to(x.dtype)
        return clipped(x + delta, self.bounds if self.order == "project_first" else None)


@dataclass(frozen=True)
class VirtualAdversarial(Perturbation):
    """x̃ = x + ε·d, d the direction in which the output's distribution changes fastest: no labels are needed.

    Power iteration on the Hessian of D(p(f(x)), p(f(x + r))) at r = 0: from a random unit vector, d ← unit(∂D/∂r at r = ξ·d), ``iterations`` times.
    epsilon: ε, in ‖·‖₂ of a sample. xi: ξ, the step at which D is differentiated, likewise. iterations: the steps of the power iteration. divergence: D: "kl",
    "reverse_kl", "symmetric_kl" or "mse", as in `Consistency`. draw: the first random vector: "normal" or "uniform". wrt: the input that is moved.

    The paper's ξ = 1e-6 is lost in float32, and popular ports take 10, which leaves the neighbourhood of x: on digits, float32, one iteration found the true
    direction to a mean |cos| of 0.64 with 1e-6, 0.97 with 1e-3, 0.99 with 0.01 and 0.56 with 10. A sample whose gradient is 0 stays where it is.
    """

    epsilon: float
    xi: float = 0.01
    iterations: int = 1
    divergence: Divergence = "kl"
    draw: Literal["normal", "uniform"] = "normal"
    wrt: Key = 0

    def __post_init__(self) -> None:
        check_radius("VirtualAdversarial: epsilon", self.epsilon)
        check_radius("VirtualAdversarial: xi", self.xi)
        check_count("VirtualAdversarial: iterations", self.iterations, 1)
        check_divergence("VirtualAdversarial", self.divergence)
        check_choice("VirtualAdversarial: draw", self.draw, Literal["normal", "uniform"])

    def __call__(self, batch: "Batch") -> Tensor:
        x, of = batch.variable(self.wrt), score(self.divergence, batch)
        direction = scaled(normal_like(x) if self.draw == "normal" else uniform_like(x) - 0.5, "unit")
        for _ in range(self.iterations):
            direction = scaled(batch.gradient_at(x + self.xi * direction, of=of, wrt=self.wrt), "unit")
        return x + self.epsilon * direction


def score(of: Of, batch: "Batch") -> Of:
    """The head that is climbed; for the name of a divergence, that of the output from the batch's own, which is held constant."""
    if not (isinstance(of, str) and of in DIVERGENCES):
        return of
    clean = batch.output.detach()
    return lambda output, _target: divergence(of, clean, output)


def clipped(x: Tensor, bounds: Bounds) -> Tensor:
    return x if bounds is None else x.clamp(*bounds)


def masked(step: Tensor, open_to: Tensor | None) -> Tensor:
    return step if open_to is None else step * open_to


def opened(name: str, mask: TensorRef | None, batch: "Batch", x: Tensor) -> Tensor | None:
    """The mask in the shape of ``x``: 1 where it may move, 0 elsewhere. Raises `ValueError` for a mask of other samples or positions."""
    if mask is None:
        return None
    given = resolve_tensor(f"{name}: mask", mask, batch)
    if given.shape != x.shape[: given.dim()]:
        raise ValueError(f"{name}: mask must have the first dimensions of what is moved, {list(x.shape)}, got {list(given.shape)}")
    return (given != 0).to(x).reshape(*given.shape, *[1] * (x.dim() - given.dim())).expand_as(x)


def _check_mask(name: str, mask: TensorRef | None) -> None:
    if mask is not None:
        check_tensor_ref(f"{name}: mask", mask)


def check_radius(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be at least 0 and finite, got {value!r}")


def check_count(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}; got {value!r}")


def check_choice(name: str, value: object, kind: object) -> None:
    known = getattr(kind, "__args__", ())
    if value not in known:
        raise ValueError(f"{name}={value!r}: {nearest(value, known)}")
