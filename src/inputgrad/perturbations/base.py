"""Perturbations of an input made from its input gradient: constants for the parameter gradient.

Knows what a batch offers; knows no term and no engine.
"""

import functools
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from inputgrad.devices import is_readable
from inputgrad.errors import Suggesting, nearest, warn
from inputgrad.memory import memory
from inputgrad.passes.precision import widened
from inputgrad.variables import Key, described

if TYPE_CHECKING:
    from inputgrad.batch import Batch

Move = Literal["ascend", "descend"]
Scaling = Literal["none", "unit", "sign", "max"]
Bounds = tuple[float, float] | None


class _PerturbationClass(Suggesting):
    """The class of the perturbations' classes: each may be called on a batch, or on a model and its inputs."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **keywords: Any) -> "_PerturbationClass":
        call = namespace.get("__call__")
        if callable(call) and not getattr(call, "__isabstractmethod__", False):
            namespace["__call__"] = _of_batch_or_model(call)
        return super().__new__(mcs, name, bases, namespace, **keywords)

    if not TYPE_CHECKING:  # type checkers read the constructors themselves

        def __call__(cls, *args: Any, **settings: Any) -> Any:
            wanted = next((name for name in settings if "restart" in name and name not in getattr(cls, "__dataclass_fields__", {})), None)
            if wanted is None:
                return super().__call__(*args, **settings)
            raise TypeError(
                f"{cls.__name__} has no setting {wanted!r}: each call draws a new start. Call it once per restart, and count a sample as robust only if it "
                "withstands all: robust = torch.stack([model(attack(model, x, y)).argmax(1) == y for _ in range(5)]).all(0)"
            )


def _of_batch_or_model(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(call)
    def called(self: Any, batch: Any, inputs: Any = None, target: Any = None, *, base: Any = None) -> Tensor:
        if isinstance(batch, Tensor) or (inputs is not None and not isinstance(batch, nn.Module)):
            raise TypeError(
                f"{type(self).__name__} is called with a term's batch, or with a model and its inputs: attack(model, inputs, target, "
                f'base="cross_entropy"); got {described(batch)} first'
            )
        if not isinstance(batch, nn.Module):
            return call(self, batch)
        if base is None and getattr(self, "of", None) == "loss":
            raise TypeError(
                f'{type(self).__name__} goes along the loss, so it needs one: attack(model, inputs, target, base="cross_entropy"). To train against it: '
                f'criterion = "cross_entropy" + ig.Adversarial({type(self).__name__}(…)), then criterion(model, inputs, target)'
            )
        found: Tensor = sys.modules["inputgrad"].attributions.attribute(self, batch, inputs, target, base=base)
        return found

    return called


class Perturbation(metaclass=_PerturbationClass):
    """A rule that makes a perturbed input x̃ of a batch. Frozen; ``wrt`` names the input (or inner module's output) that is perturbed.

    In a term it is called with the batch. Called with a model it gives the perturbed inputs of the model as it stands: ``attack(model, inputs, target,
    base="cross_entropy")``; base is the loss that it climbs, where its score is the loss. To evaluate, call ``model.eval()`` first. In training mode batch
    normalisation couples the samples (a warning says so), and its running statistics are left as they were.

    >>> from torch import nn
    >>> import inputgrad as ig
    >>> model, x, y = nn.Linear(3, 2), torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    >>> attacked = ig.PGD(0.1)(model, x, y, base="cross_entropy")
    >>> bool(((attacked - x).abs() <= 0.1 + 1e-6).all())
    True
    """

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
    moves = length > 0
    return torch.where(moves, gradient / torch.where(moves, length, 1), 0).to(gradient.dtype)


def lengths(tensor: Tensor, p: float) -> Tensor:
    """‖·‖_p of each sample, in a shape that divides the tensor; half precision is widened, whose squares overflow."""
    wide = widened(tensor)
    return torch.linalg.vector_norm(wide, p, dim=tuple(range(1, wide.dim())), keepdim=True) if wide.dim() > 1 else wide.abs()


def warn_if_outside(perturbation: Any, x: Tensor, bounds: Bounds) -> None:
    """One warning where the samples themselves lie so far outside of ``bounds`` that clipping moves them by more than the perturbation's radius."""
    if bounds is None or not is_readable(x) or not x.numel():
        return
    low, high = x.min().item(), x.max().item()
    rounding = 1e-6 * (bounds[1] - bounds[0])
    if max(bounds[0] - low, high - bounds[1]) > getattr(perturbation, "epsilon", 0) + rounding and memory(perturbation).once("bounds"):
        name = type(perturbation).__name__
        warn(
            f"{name}: bounds={tuple(bounds)} and the input lies between {low:.3g} and {high:.3g}: clipping into the bounds moves samples by more than {name} "
            "does. Give the range of the data as the model gets them (after normalisation), or bounds=None"
        )


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
