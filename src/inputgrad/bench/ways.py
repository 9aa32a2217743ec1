"""The engines as ways of making one training step, and the gradient of a loss's terms by themselves.

By themselves: on a fresh network the terms are a thousandth of the total, and a difference of totals in float32 shows its rounding alone. So the
criterion that is timed has a dial that multiplies its terms; turned up, they outweigh the base loss, and what is measured is still the same program.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import Engine, FiniteDifference

Step = Callable[[], object]
ENGINES: dict[str, str | Engine] = {
    "double_backward": "double_backward",
    "reverse_over_forward": "reverse_over_forward",
    "central": FiniteDifference("central"),
    "one_sided": FiniteDifference("one_sided"),
    "weight_as_step": "weight_as_step",
    "compiled": "compiled",
}
EXACT = ("double_backward", "reverse_over_forward", "compiled")
SEED = 0


@dataclass
class Dial:
    """What the weights of a criterion's terms are multiplied by."""

    factor: float = 1.0


@dataclass(frozen=True)
class EngineWay:
    """One engine's training step: ``step()`` leaves the parameter gradients in ``.grad``."""

    criterion: ig.InputGradientLoss
    dial: Dial
    model: nn.Module
    inputs: Any
    target: Any

    def step(self) -> None:
        self.model.zero_grad()
        self.criterion.backward(self.model, self.inputs, self.target)

    def term_gradient(self, plain: Step) -> Tensor:
        """The parameter gradient of the terms alone, flat, in float64. plain: the step of the base loss alone."""
        base = gradient_of(plain, self.model)
        found = base
        for factor in _factors(self.criterion.engine, self.model):
            dialled = self._dialled_up(factor) - base
            if not bool(dialled.isfinite().all()):  # float16 overflows: as far up as it goes
                break
            found = dialled / factor
            if float(dialled.norm()) > _OUTWEIGHING * float(base.norm()):
                break
        return found

    def _dialled_up(self, factor: float) -> Tensor:
        self.dial.factor = factor
        try:
            return gradient_of(self.step, self.model)
        finally:
            self.dial.factor = 1.0


_OUTWEIGHING = 2.0**10
"""How far the terms must outweigh the base loss for its rounding not to count."""


def _factors(engine: Engine, model: nn.Module) -> tuple[float, ...]:
    """How far the dial is turned up, in turn, until the terms outweigh the base loss: those of a deep, fresh network are 1e-12 of it.

    Not for an engine whose error depends on the weight itself, where rounding of about 1e-4 is seen instead.
    """
    if engine.name == "weight_as_step":
        return (1.0,)
    half = torch.is_autocast_enabled("cpu") or any(torch.finfo(p.dtype).bits < 32 for p in model.parameters())
    return (2.0**6, 2.0**9, 2.0**12, 2.0**15) if half else (2.0**20, 2.0**40, 2.0**60)


def engine_way(criterion: ig.InputGradientLoss, engine: str | Engine, model: nn.Module, inputs: Any, target: Any) -> EngineWay:
    """The same loss by another engine, its terms taken at every step on the whole batch."""
    dial = Dial()
    terms = [replace(item, weight=_dialled(dial, item.weight), every=1, fraction=1.0) for item in criterion.terms]
    timed = ig.InputGradientLoss(criterion.base, terms, engine=engine, output=criterion.output)
    return EngineWay(timed, dial, model, inputs, target)


def _dialled(dial: Dial, weight: float | Callable[[int], float]) -> Callable[[int], float]:
    return lambda step: dial.factor * (weight(step) if callable(weight) else weight)


def gradient_of(step: Step, model: nn.Module) -> Tensor:
    """The flat parameter gradient that a step leaves, in float64; random draws start from the same seed each time."""
    with seeded():
        step()
    return flat([p.grad for p in model.parameters()], model).double()


@contextlib.contextmanager
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


def flat(gradients: Iterable[Tensor | None], model: nn.Module) -> Tensor:
    """One vector of a gradient per parameter; zeros where there is none."""
    pairs = zip(gradients, model.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g.detach()).flatten() for g, p in pairs])


def relative(found: Tensor, reference: Tensor) -> float:
    """‖found − reference‖ / ‖reference‖."""
    return float((found - reference).norm() / reference.norm())


def refusal(step: Step) -> str | None:
    """Run a step once: None, or why the engine does not support it; handing the step to another one counts as that."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            step()
        except RuntimeError as error:
            return " ".join(str(error).split()) or type(error).__name__
    told = [str(item.message) for item in caught]
    return next((text for text in told if text.startswith("engine 'compiled' does not support")), None)
