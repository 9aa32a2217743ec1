"""Base losses: any loss of ``(output, target)``, with its own value exactly as it gives it, and one loss per sample besides.

Knows torch's losses and their `reduction`; knows no model, no term and no engine.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.base_losses.checks import check_is_no_recipe, check_target, check_weight_name, is_of_torch, name_of, note_what_was_given
from inputgrad.base_losses.of_classes import loss_of_classes, losses_of_classes
from inputgrad.errors import nearest
from inputgrad.heads import Head
from inputgrad.heads.moved_tensors import on_one_device
from inputgrad.identity import identity_of
from inputgrad.tensor_refs import part_of_target, skipped_samples, times_weights, without_skipped
from inputgrad.torch_internals.losses import mean_by_kernel
from inputgrad.torch_internals.modules import is_torchs
from inputgrad.variables import described

NAMED: dict[str, type[nn.Module]] = {
    "mse": nn.MSELoss,
    "l1": nn.L1Loss,
    "smooth_l1": nn.SmoothL1Loss,
    "huber": nn.HuberLoss,
    "cross_entropy": nn.CrossEntropyLoss,
    "nll": nn.NLLLoss,
    "bce": nn.BCELoss,
    "bce_with_logits": nn.BCEWithLogitsLoss,
    "kl_div": nn.KLDivLoss,
    "poisson_nll": nn.PoissonNLLLoss,
    "soft_margin": nn.SoftMarginLoss,
}
_SUMMED = ("sum", "batchmean")


@dataclass(frozen=True)
class OwnLoss(Head):
    """``of="loss"``: the sample's own base loss, never divided by the batch size."""

    base: Callable[[Tensor, Any], Tensor] | None

    def identity(self) -> Hashable:
        return ("loss", identity_of(self.base) if self.base else None)

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return per_sample(self.base, output, target)


@dataclass(frozen=True)
class OnTarget:
    """A base loss on one part of the target, where that is a dict or a tuple: ``OnTarget("energy", nn.MSELoss())`` beside terms that match other parts.

    key: the name, or the position, of the part. base: as `InputGradientLoss` takes it, "mse" by default. weights: see `sample_weight`.
    """

    key: str | int
    base: Any = "mse"
    weights: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.key, bool) or not isinstance(self.key, (str, int)):
            raise TypeError(f"OnTarget: key must be the name or the position of a part of the target, such as 'y'; got {described(self.key)}")
        object.__setattr__(self, "base", resolve(self.base))
        if self.base is None:
            raise TypeError("OnTarget: base must be a name or a callable (output, target), got None")

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        if not self.weights:
            return value(self.base, output, part_of_target("OnTarget: key", self.key, target))
        losses = per_sample(self, output, target)
        return losses.sum() if _reduction(self.base) == "sum" else losses.mean()

    def sample_weight(self, weights: str | int) -> "OnTarget":
        """The same base loss, each sample's own loss multiplied by its weight: mean_n w_n ℓ_n, a mean over all N samples (the sum where the base sums).

        weights: the name, or the position, of the part of the target that holds them, ``[N]``. ``of="loss"`` is then the weighted loss. Given twice, they
        multiply.

        >>> criterion = OnTarget("y", nn.MSELoss()).sample_weight("w")
        >>> criterion(torch.zeros(2, 1), {"y": torch.ones(2, 1), "w": torch.tensor([3.0, 0.0])})
        tensor(1.5000)
        """
        check_weight_name(weights)
        return replace(self, weights=(*self.weights, weights))

    def losses(self, output: Any, target: Any) -> Tensor:
        """One loss per sample, ``[N]``, with its weight."""
        label, given = part_of_target("OnTarget: key", self.key, target), []
        for name in self.weights:
            weights = part_of_target("OnTarget: sample_weight", name, target)
            skipped = skipped_samples(f"OnTarget: sample_weight={name!r}", weights) if isinstance(weights, Tensor) and weights.dim() == 1 else None
            label = without_skipped(label, skipped)
            given.append((name, weights, skipped))
        own = per_sample(self.base, output, label)
        for name, weights, skipped in given:
            if not isinstance(weights, Tensor) or weights.shape != own.shape:
                raise ValueError(f"OnTarget: sample_weight={name!r} must be one weight per sample, a tensor {list(own.shape)}; got {described(weights)}")
            own = times_weights(own, weights, skipped)
        return own

    def __mul__(self, factor: Any) -> Any:
        return factor * sys.modules[__package__.partition(".")[0]].InputGradientLoss(self)

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Any:
        check_is_no_recipe(other)
        return other.__radd__(self) if hasattr(other, "weighted") else NotImplemented


class SumOfBases(nn.Module):
    """The weighted sum of base losses, each with its own reduction: what two losses that are added have as theirs."""

    def __init__(self, parts: Sequence[tuple[float, Callable[[Any, Any], Tensor]]]) -> None:
        super().__init__()
        self.parts = list(parts)
        self.bases = nn.ModuleList(base for _, base in parts if isinstance(base, nn.Module))

    def forward(self, output: Any, target: Any) -> Tensor:
        return self.added(lambda base: value(base, output, target))

    def added(self, of: Callable[[Callable[[Any, Any], Tensor]], Tensor]) -> Tensor:
        """Σ weight · of(base)."""
        return torch.stack([weight * of(base) for weight, base in self.parts]).sum(0)


Base = str | Callable[[Any, Any], Tensor] | None


def resolve(base: Base) -> Callable[[Tensor, Any], Tensor] | None:
    """The base loss that ``base`` names or is; None for a loss of terms alone. Raises `ValueError` for an unknown name."""
    if isinstance(base, str):
        if base not in NAMED:
            raise ValueError(f"base={base!r} is not a known loss; {nearest(base, NAMED)}, or a callable (output, target)")
        return NAMED[base]()
    if isinstance(base, type):
        raise TypeError(f"base is the class {base.__name__}: pass an instance: {base.__name__}(), such as nn.MSELoss()")
    if hasattr(base, "weighted"):
        raise TypeError(f"base is the term {base!r}: terms stand second, InputGradientLoss(None, term), or are added to a base loss, nn.MSELoss() + term")
    check_is_no_recipe(base)
    if base is None or callable(base):
        return base
    raise TypeError(f"base must be a name, a callable (output, target), such as nn.MSELoss(), or None; got {type(base).__name__}")


def sees_everything(base: Any) -> bool:
    """Whether a base loss sees what a model of several outputs returns, whole: one of the user's. torch's, and the library's own, take one tensor."""
    if isinstance(base, OnTarget):
        return sees_everything(base.base)
    if isinstance(base, SumOfBases):
        return all(sees_everything(part) for _, part in base.parts)
    home = getattr(base, "__module__", None) or type(base).__module__
    return base is not None and not is_of_torch(base) and not home.startswith("inputgrad.")


def value(base: Callable[[Any, Any], Tensor], output: Any, target: Any) -> Tensor:
    """The base loss of the batch, a 0-d tensor. Where the base returns one number per sample or per element, it is their mean.

    output: the model's output, or all that it returned.
    """
    if isinstance(base, (OnTarget, SumOfBases)):
        return base(output, target)
    found = mean_by_kernel(base, output, target)
    if found is not None or (found := loss_of_classes(base, output, target)) is not None:
        return found
    check_target(base, output, target)
    try:
        result = base(output, target)
    except RuntimeError as error:
        result = on_one_device(error, lambda: base(output, target), f"the base loss {name_of(base)}", output, target)
    except (TypeError, AttributeError) as error:
        note_what_was_given(error, base, output)
        raise
    if not isinstance(result, Tensor):
        raise TypeError(f"the base loss {name_of(base)} must return a tensor, got {type(result).__name__}")
    return result if result.dim() == 0 else result.mean()


def per_sample(base: Callable[[Any, Any], Tensor] | None, output: Any, target: Any) -> Tensor:
    """One loss per sample, ``[N]``, whatever the reduction: the mean over the sample's elements (the sum where the base loss sums).

    Elements carry their class weights; elements with ``ignore_index`` count neither in the sum nor in the number. The base loss's own value is the mean
    of these over the batch, save where torch divides by something else (class weights, ignored elements): `value` is right there.
    Raises `ValueError` where the base loss gives a single number only.
    """
    if base is None:
        raise ValueError('of="loss" needs a base loss, and this InputGradientLoss has none: give one, or choose another head with of=')
    if isinstance(base, OnTarget):
        return base.losses(output, target)
    if isinstance(base, SumOfBases):
        return base.added(lambda part: per_sample(part, output, target))
    if (losses := losses_of_classes(base, output, target)) is not None:
        return losses
    check_target(base, output, target)
    try:
        elements, reduction = _unreduced(base, output, target)
    except RuntimeError as error:
        elements, reduction = on_one_device(error, lambda: _unreduced(base, output, target), f"the base loss {name_of(base)}", output, target)
    size = output.shape[0] if isinstance(output, Tensor) else None
    if elements.dim() == 0 or (size is not None and elements.shape[0] != size):
        raise ValueError(
            f"the base loss {name_of(base)} returned shape {list(elements.shape)}, and each sample's own loss is needed (by sample_weight, a term, an attack): "
            f"return one loss per sample, [N]{'' if size is None else f' = [{size}]'} (the library takes the mean), or accept `reduction` as torch's losses do"
        )
    if elements.dim() == 1:
        return elements
    total = elements.flatten(1).sum(1)
    return total if reduction in _SUMMED else total / _counted(base, elements, target)


def _unreduced(base: Callable[[Tensor, Any], Tensor], output: Tensor, target: Any) -> tuple[Tensor, str]:
    if isinstance(getattr(base, "reduction", None), str):
        unreduced: Any = object.__new__(type(base)) if isinstance(base, nn.Module) and is_torchs(base) else copy.copy(base)
        vars(unreduced).update(vars(base))  # a shallow copy: the user's object keeps its own
        unreduced.reduction = "none"
        return unreduced(output, target), base.reduction  # type: ignore[attr-defined]  # it has one, as was just seen
    parameters = _signature(base)
    if "reduction" in parameters:
        return base(output, target, reduction="none"), parameters["reduction"].default  # type: ignore[call-arg]  # likewise
    return base(output, target), "mean"


def _reduction(base: Callable[..., Any]) -> Any:
    """The `reduction` of a base loss, where it has one."""
    own = getattr(base, "reduction", None)
    return own if own is not None or "reduction" not in (found := _signature(base)) else found["reduction"].default


def _signature(base: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(base).parameters)
    except (TypeError, ValueError):
        return {}


def _counted(base: Any, elements: Tensor, target: Any) -> Tensor | int:
    """How many elements of each sample count: all of them, but for ignored class labels."""
    ignored = getattr(base, "ignore_index", None)
    if ignored is None and (setting := _signature(base).get("ignore_index")) is not None:  # a functional, or a partial of it
        ignored = setting.default
    if not isinstance(ignored, int) or not isinstance(target, Tensor) or target.is_floating_point():
        return elements[0].numel()
    return (target != ignored).flatten(1).sum(1).clamp(min=1)
