"""Finite differences: the parameter gradient of ⟨v, g⟩ from the score at displaced inputs. Approximate, and every model serves.

    central:    ⟨v, ∂s/∂z⟩ = (s(z + hv) − s(z − hv)) / 2h + O(h²)
    one-sided:  ⟨v, ∂s/∂z⟩ = (s(z + hv) − s(z)) / h + O(h)        (shares the pass at z)

differentiated in the parameters by ordinary backward passes: no operation needs a second derivative. The input gradient itself is not approximated.

The step: h = c·‖z‖/‖v‖, so that the displacement is the fraction c of the input whatever the scale of v. With rounding ε of the pass, a one-sided
difference errs by c·a + 2ε/c (a: the curvature in units of the input), least near c = √ε; a central one by c²·a + ε/c, least near c = ε^(1/3), and half
of that is taken since the curvature of networks is above 1. In float32 these are 3.5e-4 and 2.5e-3, in bfloat16 9e-2 and 1e-1.

Random draws, buffers and branch decisions are those of the pass at z (`replay`, `branches`). Without the branches a ReLU network's result is wrong by
several times its own size, since a unit that changes side jumps by O(1), which is divided by h.
"""

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from inputgrad.engines.base import Cotangents, Engine, Linearization, Traits, input_gradient
from inputgrad.engines.branches import Tape, unseen
from inputgrad.engines.forward import Change, ForwardPass, Watch
from inputgrad.errors import EngineError, nearest, warn
from inputgrad.heads import Score
from inputgrad.places import Key

_WARNED: weakref.WeakSet[nn.Module] = weakref.WeakSet()


@dataclass(frozen=True)
class FiniteDifference(Engine):
    """Differences of the score along v.

    scheme: "central" (two displaced passes, error O(h²)) or "one_sided" (one displaced pass, error O(h)).
    strict: refuse a model with branch decisions that cannot be replayed, where otherwise one warning names the module.
    step: c, the displacement as a fraction of the input's norm; None takes it from the precision of the pass (see the module's text).
    """

    scheme: Literal["central", "one_sided"] = "central"
    step: float | None = None
    strict: bool = False

    name: ClassVar[str] = "finite_difference"
    traits: ClassVar[Traits] = Traits(
        exact=False,
        needs="first derivatives only; branch decisions that torch's functions take from Python",
        passes="3.3 plain steps (central) or 2.3 (one-sided): each displaced pass is one step more",
        memory="the graph of one pass, with criterion.backward(...); of all passes at once, with loss.backward()",
    )

    def __post_init__(self) -> None:
        if self.scheme not in ("central", "one_sided"):
            raise ValueError(f"FiniteDifference: scheme={self.scheme!r}: {nearest(self.scheme, ('central', 'one_sided'))}")
        if self.step is not None and not 0 < self.step < 1:
            raise ValueError(f"FiniteDifference: step must be a fraction of the input's norm, between 0 and 1, or None; got {self.step}")

    def watch(self, model: nn.Module) -> Watch:
        return Watch(tape=Tape())

    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        forward.watched()
        self._object_to_unseen(forward)
        scored = _Watched(score)
        gradient = tuple(part.detach() for part in input_gradient(forward, scored, wrt, create_graph=False))
        scores_here = scored(forward.here().output)
        several = scores_here.dim() == 2

        def rows(v: Cotangents) -> Iterator[tuple[int | None, dict[Key, Tensor], float]]:
            for row in range(scores_here.shape[1]) if several else (None,):
                directions = dict(zip(wrt, (part if row is None else part[:, row] for part in v), strict=True))
                yield row, directions, self._step(forward, directions)

        def here(v: Cotangents) -> Tensor:
            shares = [_row(scores_here, row) / -h for row, _, h in rows(v) if h]
            return torch.stack(shares).sum() if shares else scores_here.new_zeros(())

        def elsewhere(v: Cotangents) -> Iterator[Tensor]:
            for row, directions, h in rows(v):
                for step in () if not h else (h,) if self.scheme == "one_sided" else (h, -h):
                    changes: dict[Key, Change] = {key: _shifted(step, part) for key, part in directions.items()}
                    yield _row(scored(forward.run(changes).output), row) / (step if self.scheme == "one_sided" else 2 * step)

        return Linearization(gradient, here if self.scheme == "one_sided" else None, elsewhere)

    def _object_to_unseen(self, forward: ForwardPass) -> None:
        hidden = _unseen(forward)
        if hidden is None or (forward.model in _WARNED and not self.strict):
            return
        told = (
            f"engine 'finite_difference': the branch decisions inside {hidden} cannot be replayed. If it holds ReLU-like units or max-pools, the gradient "
            "of the terms may be wrong by more than its own size; with smooth activations it is right"
        )
        if self.strict:
            raise EngineError(told)
        _WARNED.add(forward.model)
        warn(told)

    def _step(self, forward: ForwardPass, v: dict[Key, Tensor]) -> float:
        here = forward.here()
        variables = [here.variables[key].detach() for key in v]
        size, length = _norm(variables), _norm(list(v.values()))
        if length == 0:
            return 0.0
        if size == 0:  # a virtual zero variable, such as a strain: its unit is 1
            size = sum(z.numel() for z in variables) ** 0.5
        return self._fraction(here.output, variables) * size / length

    def _fraction(self, output: Tensor, variables: list[Tensor]) -> float:
        if self.step is not None:
            return self.step
        rounding = max(torch.finfo(tensor.dtype).eps for tensor in (output, *variables))
        if torch.is_autocast_enabled(output.device.type):
            rounding = max(rounding, torch.finfo(torch.get_autocast_dtype(output.device.type)).eps)
        return rounding**0.5 if self.scheme == "one_sided" else rounding ** (1 / 3) / 2


class _Watched:
    """A score whose own branch decisions (the sign in an absolute error) are those that it took first."""

    def __init__(self, score: Score) -> None:
        self._score = score
        self._tape = Tape()

    def __call__(self, output: Tensor) -> Tensor:
        with self._tape.run():
            return self._score(output)


def _row(scores: Tensor, row: int | None) -> Tensor:
    return (scores if row is None else scores[:, row]).sum()


def _shifted(step: float, v: Tensor) -> Change:
    return lambda z: z + step * v


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())


def _unseen(forward: ForwardPass) -> str | None:
    return unseen(forward.model) or forward.unseen_branches
