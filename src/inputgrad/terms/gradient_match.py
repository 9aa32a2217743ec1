"""Match the input gradient itself with labels: derivatives that are known, forces, a teacher's Jacobian, zeros under a mask."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from inputgrad.batch import AddedUp, Batch
from inputgrad.devices import moved_like
from inputgrad.errors import nearest
from inputgrad.heads import Of
from inputgrad.passes.precision import widened
from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.terms.base import Per, Term
from inputgrad.terms.missing_labels import both, counted, known
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.losses import sum_of_squared_errors
from inputgrad.variables import Wrt, keys_of

Norm = Literal["squared", "absolute", "euclidean", "vectors", "huber"]
Reduction = Literal["sum", "mean"]
_NORMS = ("squared", "absolute", "euclidean", "vectors", "huber")


@dataclass(frozen=True, eq=False)
class GradientMatch(Term):
    """Gradient matching: the distance between the input gradient and labels for it, over the features that have one.

        R_n = Σ_i |scale_i · (sign · g_ni − g*_ni)|²          g_n = ∂s_n/∂x_n

    wanted: g*, of the gradient's shape ``[N, *input]`` (``[N, K, *input]`` for a head of K rows), or of one sample's for all; None for zeros. NaN in it is a
    missing label, which asks for nothing.
    of, wrt, at: which scalar, with respect to what, and where, as in `GradientNorm`.
    sign: −1 where the labels are forces, F = −∂E/∂r.
    norm: "squared", as above; "absolute": Σ_i |·|; "euclidean": the root of the squared sum; "vectors": Σ over the vectors along the last dimension of their
    length (atoms, points); "huber": Σ_i ½ |·|² where |·| ≤ δ, else δ (|·| − ½ δ).
    reduction: "sum", or "mean" over what counts (inside the root). A sample in which nothing counts gives 0.
    mask: features count where it is not 0: padding, or what must not matter. Of the shape of the gradient or of one sample's, with size 1 where it does not
    vary; it may lack the last dimension: ``[N, A]`` for positions ``[N, A, 3]``.
    scale: a number, or a tensor of such a shape, inside the norm.
    index: for samples of several rows each, such as atoms of many structures in one tensor ``[atoms, 3]``: the number of each row's sample, ``[atoms]``.
    per: "sample", or "batch" for one sum or mean over all features of the batch, where large samples count more.
    delta: δ of "huber", in units of the gradient.

    Labels, mask, scale, delta and index: a tensor, a name or a position of the target, or a callable of the batch (an integer scale is a number, not a
    position).

    When not: where labels are noisy, or only their direction is known (`DirectionMatch`).

    Source: Czarnecki, Osindero, Jaderberg, Swirszcz & Pascanu 2017, "Sobolev training for neural networks", NeurIPS, eq. 1; with zeros under a mask Ross,
    Hughes & Doshi-Velez 2017, "Right for the right reasons", IJCAI.

    >>> import inputgrad as ig
    >>> criterion = ig.OnTarget("value") + 0.1 * GradientMatch("slope", reduction="mean")
    """

    wanted: TensorRef | None
    of: Of = "output"
    wrt: Wrt = 0
    at: Place | None = None
    sign: float = 1.0
    norm: Norm = "squared"
    reduction: Reduction = "sum"
    mask: TensorRef | None = None
    scale: TensorRef | float | None = None
    index: TensorRef | None = None
    per: Per = "sample"  # type: ignore[misc]  # a setting here, fixed by the class elsewhere
    delta: TensorRef | float = 1.0

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"GradientMatch: wrt names one input, since wanted is one tensor; got {self.wrt!r}. For several add one term for each")
        for name in ("wanted", "mask", "index"):
            if getattr(self, name) is not None:
                check_tensor_ref(f"GradientMatch: {name}", getattr(self, name))
        check_scale("GradientMatch", self.scale)
        check_scale("GradientMatch", self.delta, "delta")
        check_distance("GradientMatch", self.norm, self.reduction)
        if self.per not in ("sample", "batch"):
            raise ValueError(f"GradientMatch: per={self.per!r}: {nearest(self.per, ('sample', 'batch'))}")
        if self.sign not in (1, -1):
            raise ValueError(f"GradientMatch: sign must be 1 or -1, got {self.sign!r}; for another factor use scale")

    @classmethod
    def example(cls) -> "GradientMatch":
        return cls(lambda batch: torch.ones_like(batch.variable(0)[0]))

    def __call__(self, batch: Batch) -> Tensor:
        return self._numbers(batch, *self._compared(batch))

    def _added_up(self, batch: Batch) -> AddedUp | Tensor | None:
        if self.norm != "squared" or self.per != "sample" or self.wanted is None or self.mask is not None or self.scale is not None or self.index is not None:
            return None
        gradient, counts, wanted = self._compared(batch)
        if counts is not None or wanted is None:
            return self._numbers(batch, gradient, counts, wanted)
        samples = gradient.shape[0]
        total = sum_of_squared_errors(gradient, wanted if self.sign == 1 else -wanted)
        return AddedUp(total, samples, 1 if self.reduction == "sum" else gradient.numel() // samples)

    def _compared(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The gradient, which of its labels are there, None for all, and they."""
        gradient = widened(batch.gradient(of=self.of, wrt=self.wrt if isinstance(self.wrt, (int, str)) else self.wrt[0], at=self.at))
        return (gradient, None, None) if self.wanted is None else (gradient, *known(self._labels("wanted", batch, gradient)))

    def _numbers(self, batch: Batch, gradient: Tensor, counts: Tensor | None, wanted: Tensor | None) -> Tensor:
        gap = gradient
        if wanted is not None:
            gap = gradient - wanted if self.sign == 1 else gradient + wanted  # which lengths do not tell from its negative
        if self.mask is not None:
            counts = both(counts, self._mask(batch, gradient) != 0)
        if self.scale is not None:
            gap = gap * (self.scale if isinstance(self.scale, (int, float)) else self._labels("scale", batch, gradient))
        delta = self.delta if isinstance(self.delta, (int, float)) or self.norm != "huber" else self._labels("delta", batch, gradient)
        return distance(counted(gap, counts), counts, self.norm, self.reduction, lambda parts: self._pooled(parts, batch), delta, even=self.index is None)

    def _labels(self, which: str, batch: Batch, gradient: Tensor) -> Tensor:
        name = f"GradientMatch: {which}"
        return (shaped if which == "wanted" else broadcast)(name, resolve_tensor(name, getattr(self, which), batch), gradient)

    def _mask(self, batch: Batch, gradient: Tensor) -> Tensor:
        """The mask; one without the last dimension, ``[N, A]`` or with an index ``[atoms]``, counts for whole vectors."""
        name = "GradientMatch: mask"
        mask, vectors = resolve_tensor(name, self.mask, batch), gradient.shape[:-1]  # type: ignore[arg-type]  # asked for where there is one
        if self.index is not None:
            _check_rows(name, mask, gradient, batch.size)
        if mask.shape != vectors or gradient.dim() < (3 if self.index is None else 2):
            return broadcast(name, mask, gradient)
        if vectors == gradient.shape[1:]:
            raise ValueError(f"{name} of shape {list(mask.shape)} can be read in two ways: write mask[..., None] for one number per vector")
        return broadcast(name, mask[..., None], gradient)

    def _pooled(self, parts: Tensor, batch: Batch) -> Tensor:
        """The sum over what belongs together: ``[N]``, or 0-d for the whole batch."""
        if self.per == "batch":
            return parts.sum()
        rows = (parts if parts.dim() == 2 else parts.flatten(1)).sum(1) if parts.dim() > 1 else parts
        return rows if self.index is None else summed(rows, resolve_tensor("GradientMatch: index", self.index, batch), batch.size)


def _check_rows(name: str, mask: Tensor, gradient: Tensor, size: int) -> None:
    """Raises `ValueError` for a mask of one number per sample, where each sample has several rows."""
    if mask.shape != (size,) or size == gradient.shape[0]:
        return
    components = f", or mask[None] for one number per component, [1, {size}]" if mask.shape == gradient.shape[1:] else ""
    raise ValueError(
        f"{name} has shape [{size}], which is one number per sample (structure), and the input gradient has {gradient.shape[0]} rows: write mask[index] for "
        f"one number per row{components}"
    )


def distance(
    gap: Tensor, counts: Tensor | None, norm: Norm, reduction: Reduction, pooled: Callable[[Tensor], Tensor], delta: Any = 1.0, *, even: bool = True
) -> Tensor:
    """The length of ``gap`` by the settings of `GradientMatch`: zero where it does not count.

    pooled: adds up what belongs together; even: as many numbers each time.
    """
    counts = None if counts is None else counts.expand_as(gap)  # a mask may have size 1 where it does not vary, and the mean counts each component
    if norm == "vectors":
        parts, counts = torch.linalg.vector_norm(gap, dim=-1), None if counts is None else counts.any(-1)
    elif norm == "huber":
        parts = huber(gap, delta)
    else:
        parts = gap.abs() if norm == "absolute" else gap.square()
    total = pooled(parts)
    if reduction == "mean" and counts is None and even:
        total = total / max(1, parts.numel() // max(1, total.numel()))
    elif reduction == "mean":
        total = total / pooled(torch.ones_like(parts) if counts is None else counts.to(parts.dtype)).clamp(min=1)
    return root(total) if norm == "euclidean" else total


def huber(gap: Tensor, delta: Any) -> Tensor:
    """½ gap² up to ``delta``, and from there on a line: Huber's loss of each number."""
    size = gap.abs()
    return torch.where(size <= delta, size.square() / 2, delta * (size - delta / 2))


def check_distance(name: str, norm: str, reduction: str) -> None:
    """Raises `ValueError` for settings that are none of `GradientMatch`'s."""
    if norm not in _NORMS:
        raise ValueError(f"{name}: norm={norm!r}: {nearest(norm, _NORMS)}")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"{name}: reduction={reduction!r}: {nearest(reduction, ('sum', 'mean'))}")


def check_scale(name: str, scale: TensorRef | float | None, setting: str = "scale") -> None:
    """Raises `TypeError` for what is neither a number nor names labels, and `ValueError` for a number that is not finite."""
    if isinstance(scale, (int, float)) and not isinstance(scale, bool):
        if not math.isfinite(scale):
            raise ValueError(f"{name}: {setting} must be finite, got {scale!r}")
    elif scale is not None:
        check_tensor_ref(f"{name}: {setting}", scale)


def root(square: Tensor) -> Tensor:
    """√, with derivative 0 at 0."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def summed(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """Σ of the rows of each sample, ``[N]``, by the number of each row's sample."""
    if index.is_floating_point() or index.dtype == torch.bool or index.shape != rows.shape[:1]:
        raise ValueError(
            f"index must hold the number of each row's sample, integers of shape [{rows.shape[0]}], as many as the gradient has rows; "
            f"got {list(index.shape)} of {index.dtype}"
        )
    try:
        return rows.new_zeros((size, *rows.shape[1:])).index_add(0, index.to(rows.device), rows)
    except (IndexError, RuntimeError) as error:  # asked afterwards: to look at the numbers first would wait for the device at each step
        if messages.is_machine_error(error) or all(0 <= sample < size for sample in set(index.tolist())):
            raise
        raise ValueError(f"index names samples outside 0..{size - 1}, and the output has {size} rows: {sorted(set(index.tolist()))[-3:]}") from error


def shaped(name: str, labels: Tensor, gradient: Tensor) -> Tensor:
    """Labels of the gradient's shape, or of one sample's for all, in the gradient's type; constants."""
    labels = moved_like(labels, gradient)
    if labels.shape == gradient.shape:
        return labels
    if labels.shape == gradient.shape[1:]:
        return labels.expand_as(gradient)
    raise _wrong_shape(name, labels, gradient, "")


def broadcast(name: str, labels: Tensor, gradient: Tensor) -> Tensor:
    """As `shaped`, with size 1 allowed in any dimension."""
    labels = moved_like(labels, gradient)
    whole = labels[None] if labels.dim() == gradient.dim() - 1 else labels
    if whole.dim() == gradient.dim() and all(own in (1, wanted) for own, wanted in zip(whole.shape, gradient.shape, strict=True)):
        return whole
    raise _wrong_shape(name, labels, gradient, ", with size 1 where it does not vary")


def _wrong_shape(name: str, labels: Any, gradient: Tensor, tail: str) -> ValueError:
    what = "Hessian" if name.startswith("HessianMatch") else "input gradient"
    return ValueError(
        f"{name} has shape {list(labels.shape)}; expected that of the {what}, {list(gradient.shape)}, or of one sample's, "
        f"{list(gradient.shape[1:])}{tail}. Where only some features have labels, give all of them, with NaN for no label"
    )
