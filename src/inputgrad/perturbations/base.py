"""Perturbations of an input made from its input gradient: constants for the parameter gradient.

Knows what a batch offers; knows no term and no engine.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.passes.precision import widened
from inputgrad.variables import Key

if TYPE_CHECKING:
    from inputgrad.batch import Batch

Move = Literal["ascend", "descend"]
Scaling = Literal["none", "unit", "sign", "max"]
Bounds = tuple[float, float] | None


class Perturbation(ABC):
    """A rule that makes a perturbed input x̃ of a batch. Frozen; ``wrt`` names the input (or inner module's output) that is perturbed."""

    wrt: Key

    @abstractmethod
    def __call__(self, batch: "Batch") -> Tensor:
        """x̃, of the shape of ``batch.variable(wrt)``, detached."""

    def state(self) -> dict[str, Tensor]:
        """What it carries from one step to the next; the term that takes it keeps it in the criterion's ``state_dict``."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` gave."""
        if state:
            raise ValueError(f"{type(self).__name__} carries nothing from step to step, and was given {sorted(state)}")


def check_perturbation(name: str, perturbation: Any) -> None:
    """Raises `TypeError` for what makes no perturbed input."""
    if isinstance(perturbation, type) or not callable(perturbation):
        raise TypeError(f"{name} takes a perturbation object, as in {name}(FGSM(0.1)), or a callable batch -> tensor; got {perturbation!r}")


def perturbed_key(perturbation: "Perturbation | Callable[[Batch], Tensor]") -> Key:
    """The key of what it perturbs: the first input for a callable that does not say."""
    return getattr(perturbation, "wrt", 0)


def moved(x: Tensor, gradient: Tensor, size: float, *, move: Move, scaling: Scaling, bounds: Bounds) -> Tensor:
    """x ± size · step, clipped into bounds; step is the gradient as `scaled` gives it."""
    signed = size if move == "ascend" else -size
    step = x + signed * scaled(gradient, scaling)
    return step if bounds is None else step.clamp(*bounds)


def scaled(gradient: Tensor, scaling: Scaling) -> Tensor:
    """The gradient as it is ("none"), its sign ("sign"), or divided, a sample, by its ‖·‖₂ ("unit") or its largest entry's size ("max"); 0 stays 0."""
    if scaling == "sign":
        return gradient.sign()
    if scaling == "none":
        return gradient
    length = lengths(gradient, 2 if scaling == "unit" else float("inf"))
    return torch.where(length > 0, gradient / torch.where(length > 0, length, 1), 0).to(gradient.dtype)


def lengths(tensor: Tensor, p: float) -> Tensor:
    """‖·‖_p of each sample, in a shape that divides the tensor; half precision is widened, whose squares overflow."""
    wide = widened(tensor)
    return torch.linalg.vector_norm(wide, p, dim=tuple(range(1, wide.dim())), keepdim=True) if wide.dim() > 1 else wide.abs()


def check_move(move: str) -> None:
    if move not in ("ascend", "descend"):
        raise ValueError(f"move={move!r}: {nearest(move, ('ascend', 'descend'))}")


def check_scaling(scaling: str) -> None:
    if scaling not in get_args(Scaling):
        raise ValueError(f"scaling={scaling!r}: {nearest(scaling, get_args(Scaling))}")


def check_bounds(bounds: Bounds) -> None:
    if bounds is None:
        return
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise ValueError(f"bounds must be (low, high) with low < high, or None; got {bounds!r}")
