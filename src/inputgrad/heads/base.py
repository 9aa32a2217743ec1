"""Heads: which scalar of a sample's output is differentiated with respect to the input.

A head maps the output ``[N, ...]`` and the target to one score per sample, ``[N]``, or to K rows of scores, ``[N, K]``. It knows no model, no gradient
and no engine. The head ``"loss"`` is the sample's own base loss; the criterion, which has the base loss, fills it in.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from inputgrad.devices import moved_once
from inputgrad.errors import Suggesting, nearest
from inputgrad.heads.moved_tensors import on_one_device
from inputgrad.identity import identity_of
from inputgrad.tensor_refs import part_of_target
from inputgrad.torch_internals import messages


class Head(metaclass=Suggesting):
    """The scalar s of a sample's output whose input gradient ∂s/∂x is taken."""

    @abstractmethod
    def __call__(self, output: Tensor, target: Any) -> Tensor:
        """Scores ``[N]``, or ``[N, K]`` for K rows, of ``output`` ``[N, ...]``."""

    @property
    def adds_all(self) -> bool:
        """Whether Σ_n s_n is the sum of all numbers of the output: then its gradient with respect to the output is ones, and no score need be formed."""
        return False

    def identity(self) -> Hashable:
        """What tells this head from others: small, without keeping anything of the user's alive, and the same again for a head made anew alike."""
        return self if type(self).__eq__ is not object.__eq__ else identity_of(self)

    def drawn(self, output: Tensor) -> "Head":
        """This head with its random draws made for outputs like ``output``: every pass of a step must see the same."""
        return self


@dataclass(frozen=True)
class SumOfOutputs(Head):
    """``of="output"``: s = Σ_c f_c(x), the sum over the sample's outputs."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return output.flatten(1).sum(1) if output.dim() > 1 else output

    @property
    def adds_all(self) -> bool:
        return type(self) is SumOfOutputs  # a head derived from this one may give other scores


@dataclass(frozen=True)
class LabelOutput(Head):
    """``of="label"``: s = f_y(x), the output (logit) of the true class. Needs outputs ``[N, C]`` and integer targets ``[N]``.

    key: the part of the target that holds the labels, where that is a dict or a tuple, ``of=LabelOutput("y")``; not needed beside ``OnTarget("y", ...)``.
    """

    key: str | int | None = None

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        labels = _class_labels(output, target if self.key is None else part_of_target("LabelOutput: key", self.key, target))
        try:
            return output.gather(1, labels[:, None]).squeeze(1)
        except (RuntimeError, IndexError) as error:  # asked afterwards: to look at the labels first would wait for the device at each step
            if messages.is_machine_error(error):  # a device whose kernel found a number outside answers no more questions
                raise
            raise _outside(labels, output.shape[1]) or error from error


@dataclass(frozen=True)
class LogProbabilities(Head):
    """``of="log_prob"``: s = Σ_c log softmax(f(x))_c, the head of Ross, Hughes & Doshi-Velez (2017), "Right for the right reasons"."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return output.flatten(1).log_softmax(1).sum(1)


@dataclass(frozen=True)
class EachOutput(Head):
    """Every output by itself: K = C rows, the whole Jacobian; its gradient is ``[N, C, *input]``, by C backward passes or a batched one."""

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return output.flatten(1)


@dataclass(frozen=True)
class RandomProjection(Head):
    """``n`` random directions u of the output per sample: s_k = ⟨u_k, f(x)⟩, drawn anew each step, uniform on the unit sphere of the C outputs.

    n: how many directions per sample.
    scale: "unit" for unit directions; "isotropic" for √(C/n)·u_k, so that E Σ_k u_k u_kᵀ = 1 and Σ_k ‖∂s_k/∂x‖² estimates ‖∂f/∂x‖²_F as it stands.

    Since E‖∂⟨u, f⟩/∂x‖² = ‖∂f/∂x‖²_F / C for u uniform on the unit sphere of C outputs (Hoffman, Roberts & Yaida 2019,
    "Robust learning with Jacobian regularization"), C times the mean squared norm estimates the squared Frobenius norm of the Jacobian.
    """

    n: int = 1
    scale: Literal["unit", "isotropic"] = "unit"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"RandomProjection: n must be at least 1, got {self.n}")
        if self.scale not in ("unit", "isotropic"):
            raise ValueError(f"RandomProjection: scale={self.scale!r}: {nearest(self.scale, ('unit', 'isotropic'))}")

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        return self.drawn(output)(output, target)

    def drawn(self, output: Tensor) -> Head:
        flat = output.detach().flatten(1)
        directions = torch.randn(flat.shape[0], self.n, flat.shape[1], dtype=flat.dtype, device=flat.device)
        length = torch.linalg.vector_norm(directions, dim=2, keepdim=True)
        return FixedProjection(directions / length if self.scale == "unit" else directions * ((flat.shape[1] / self.n) ** 0.5 / length))


@dataclass(frozen=True, eq=False)
class FixedProjection(Head):
    """Given directions of the output: s_k = ⟨u_k, f(x)⟩.

    directions: u, ``[N, K, C]`` (C: outputs of a sample, flattened).
    """

    directions: Tensor

    def identity(self) -> Hashable:
        return (FixedProjection, tuple(self.directions.shape[1:]))

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        directions = moved_once(self.directions, output.device, output.dtype)
        return (directions * output.flatten(1)[:, None]).sum(2)  # of a few outputs; a batched matrix product is dearer, and far dearer in its derivatives


@dataclass(frozen=True)
class OneOutput(Head):
    """s = f_index(x): one output (the logit of one class), the same for every sample. Outputs ``[N, C]`` -> ``[N]``.

    index: the number of the output, from 0.
    """

    index: int

    def __post_init__(self) -> None:
        if self.index < 0:
            raise ValueError(f"OneOutput: index must be the number of an output, from 0; got {self.index}")

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        if output.dim() != 2 or self.index >= output.shape[1]:
            raise ValueError(f"OneOutput: index={self.index} needs outputs [N, C] with C > {self.index}, got {list(output.shape)}; give another index")
        return output[:, self.index]


@dataclass(frozen=True)
class CallableHead(Head):
    """A head of your own, made of a function.

    function: ``(output, target) -> [N]``, or ``[N, K]`` for K rows.
    """

    function: Callable[[Tensor, Any], Tensor]

    def identity(self) -> Hashable:
        return identity_of(self.function)

    def __call__(self, output: Tensor, target: Any) -> Tensor:
        try:
            return self.function(output, target)
        except RuntimeError as error:
            scores: Tensor = on_one_device(error, lambda: self.function(output, target), f"the head {identity_of(self.function)}", output, target)
            return scores


NAMED: dict[str, Head] = {"output": SumOfOutputs(), "label": LabelOutput(), "log_prob": LogProbabilities()}
Of = str | Head | Callable[[Tensor, Any], Tensor]


def resolve(of: Of) -> Head:
    """The head that ``of`` names, is, or wraps. Raises `ValueError` for an unknown name and `TypeError` for anything else."""
    if isinstance(of, Head):
        return of
    if isinstance(of, str):
        if of in NAMED:
            return NAMED[of]
        raise ValueError(f"of={of!r} is not a head; {nearest(of, [*NAMED, 'loss'])}, a head of inputgrad.heads, or a callable (output, target) -> [N]")
    if callable(of):
        return CallableHead(of)
    hint = f"; for output {of} write of=ig.heads.OneOutput({of})" if isinstance(of, int) and not isinstance(of, bool) else ""
    raise TypeError(f"of must be a name, a head of inputgrad.heads, or a callable (output, target) -> [N]; got {type(of).__name__}{hint}")


class Score:
    """A head as a function of the output alone: ``[N, ...]`` -> ``[N]`` or ``[N, K]``, its target filled in, its random draws made, its result checked."""

    def __init__(self, head: Head, output: Tensor, target: Any) -> None:
        self.head = head
        self._drawn = head.drawn(output)
        self._target = target

    def __call__(self, output: Tensor) -> Tensor:
        scores = self._drawn(output, self._target)
        _check_scores(self.head, scores, output.shape[0])
        return scores


def _outside(labels: Tensor, classes: int) -> ValueError | None:
    """What is wrong with labels that name no class."""
    bad = labels[(labels < 0) | (labels >= classes)]
    if not len(bad):
        return None
    return ValueError(
        f'of="label" has no output for the labels {bad.unique().tolist()} outside 0..{classes - 1}: leave those samples out, or mask them with a head of your '
        "own, of=lambda output, target: output.gather(1, target.clamp(min=0)[:, None]).squeeze(1) * (target >= 0)"
    )


def _check_scores(head: Head, scores: Any, size: int) -> None:
    if isinstance(scores, Tensor) and scores.dim() in (1, 2) and scores.shape[0] == size and scores.is_floating_point():
        return
    got = f"{list(scores.shape)} of {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
    raise ValueError(f"the head {head} must return one floating-point score per sample, [N] = [{size}] (or [N, K]); got {got}")


def _class_labels(output: Tensor, target: Any) -> Tensor:
    if output.dim() != 2:
        raise ValueError(f'of="label" needs outputs of shape [N, C], got {list(output.shape)}; pass of=callable (output, target) -> [N]')
    if not _are_labels(target, output):
        got = f"{list(target.shape)} of {target.dtype}" if isinstance(target, Tensor) else type(target).__name__
        part = ""
        if isinstance(target, (Mapping, tuple, list)):
            key = next((key for key, held in _parts(target) if _are_labels(held, output)), "y")
            part = f". Of one part of it: of=ig.heads.LabelOutput({key!r}), or the base loss ig.OnTarget({key!r}, base), which names it for both"
        elif isinstance(target, Tensor) and target.dim() == 1 and not target.is_floating_point():
            part = ". At other samples than the batch's the place needs their labels: ig.Given(samples, target=labels)"
        raise ValueError(f'of="label" needs target to hold integer class labels of shape [N] = [{output.shape[0]}], got {got}{part}')
    return target.long()


def _are_labels(labels: Any, output: Tensor) -> bool:
    return isinstance(labels, Tensor) and not labels.is_floating_point() and labels.shape == output.shape[:1]


def _parts(target: Any) -> Iterable[tuple[Any, Any]]:
    return target.items() if isinstance(target, Mapping) else enumerate(target)
