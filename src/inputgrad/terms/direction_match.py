"""Match the direction of the input gradient with a wanted one."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from inputgrad.batch import Batch
from inputgrad.devices import moved_like
from inputgrad.heads import Of
from inputgrad.places.base import Place
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, part_of_target, resolve_tensor
from inputgrad.terms.base import Term
from inputgrad.terms.gradient_norm import flattened
from inputgrad.variables import Wrt, keys_of


@dataclass(frozen=True, eq=False)
class DirectionMatch(Term):
    """Direction match: the input gradient points along a wanted direction.

        R_n = m_n · (1 − cos(g_n, d_n))          g_n = ∂s_n/∂x_n

    R is 0 where the input gradient points along d, 2 where it points against it.
    direction: d, of the shape of one sample's input (the same for all) or one per sample ``[N, *input]``: a tensor, a name or a position of the target, or a
    callable of the batch. Only its direction counts. Rows of zeros ask for nothing: there R = 1, without a gradient. NaN is a missing
    label: the cosine is over the others, and a sample without any gives 0.
    mask: m, ``[N]`` (or ``[N, 1]``): samples count where it is not 0, and the others give 0; the loss's mean is over all samples all the same.
    of, wrt, at: which scalar, with respect to what, and where. For a head of K rows, g and d are one long vector each.

    At g = 0, where the cosine has no value, R = m with the subgradient 0. Trained so, following the input gradient (`inputgrad.follow_gradient`)
    moves an input along d.

    When not: where the size of the gradient is known too (`GradientMatch`).

    Source: Ganz, Kawar & Elad 2023, "Do perceptually aligned gradients imply robustness?", ICML; Sitzmann et al. 2020, "Implicit neural
    representations with periodic activation functions", NeurIPS (normals, with the mask of the surface).

    >>> criterion = 0.1 * DirectionMatch(torch.tensor([1.0, 0.0, 0.0]))
    """

    direction: TensorRef
    of: Of = "output"
    wrt: Wrt = 0
    at: Place | None = None
    mask: TensorRef | None = None

    further_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if len(keys_of(self.wrt)) != 1:
            raise TypeError(f"DirectionMatch: wrt names one input, since there is one direction; got {self.wrt!r}. For several add one term for each")
        if isinstance(self.direction, Tensor):
            if not bool(self.direction.any()):
                raise ValueError("DirectionMatch: direction is zero everywhere, so it names no direction")
        elif isinstance(self.direction, bool) or not (callable(self.direction) or isinstance(self.direction, (str, int))):
            raise TypeError(
                f"DirectionMatch: direction must be a tensor or a callable of the batch, got {type(self.direction).__name__}; "
                "a name or a position names a part of the target"
            )
        if self.mask is not None:
            check_tensor_ref("DirectionMatch: mask", self.mask)

    @classmethod
    def example(cls) -> "DirectionMatch":
        return cls(lambda batch: torch.ones_like(batch.variable(0)[0]))

    def __call__(self, batch: Batch) -> Tensor:
        gradient = batch.gradient(of=self.of, wrt=keys_of(self.wrt)[0], at=self.at)
        direction = self.direction
        if not isinstance(direction, Tensor):
            direction = direction(batch) if callable(direction) else part_of_target("DirectionMatch: direction", direction, batch.target)
        direction = _one_a_sample(direction, gradient)
        known = ~direction.isnan()
        mismatch = 1 - cosine(torch.where(known, gradient, 0), direction.nan_to_num())
        mismatch = torch.where(known.flatten(1).any(1), mismatch, 0)
        return mismatch if self.mask is None else torch.where(mask_of("DirectionMatch: mask", self.mask, batch, mismatch), mismatch, 0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """cos(a_n, b_n) ``[N]`` over all features of a sample; 0, with derivative 0, where either has length zero."""
    a, b = flattened(a), flattened(b)
    length = a.norm(dim=1) * b.norm(dim=1)
    defined = length > 0
    return torch.where(defined, (a * b).sum(1) / torch.where(defined, length, 1), 0)


def mask_of(name: str, mask: TensorRef, batch: Batch, numbers: Tensor) -> Tensor:
    """Where the mask is not 0, as many as ``numbers`` ``[N]``. Raises `ValueError` for another number."""
    found_mask = resolve_tensor(name, mask, batch)
    if found_mask.numel() != numbers.numel() or found_mask.shape[:1] != numbers.shape:
        raise ValueError(f"{name} must hold one number per sample, [{numbers.shape[0]}]; got {list(found_mask.shape)}")
    return (found_mask.to(numbers.device) != 0).reshape(numbers.shape)


def _one_a_sample(direction: Any, gradient: Tensor) -> Tensor:
    if not isinstance(direction, Tensor):
        raise TypeError(f"DirectionMatch: the callable direction must return a tensor, got {type(direction).__name__}")
    direction = moved_like(direction, gradient)
    if direction.shape == gradient.shape:
        return direction
    if direction.shape == gradient.shape[1:]:
        return direction.expand_as(gradient)
    raise ValueError(
        f"DirectionMatch: direction has shape {list(direction.shape)}; expected that of one sample's input gradient, {list(gradient.shape[1:])}, "
        f"or one per sample, {list(gradient.shape)}"
    )
