"""The loss: a base loss plus weighted terms on the input gradient. The only place where heads, terms and engines meet.

total(θ) = mean_n loss(f(x_n; θ), y_n) + Σ_k w_k · mean_n R_k(g_n, …)        g_n = ∂ s(f(x_n; θ), y_n) / ∂ x_n
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses, engines
from inputgrad.base_losses import Base
from inputgrad.batch import Step
from inputgrad.checks import check_finite, check_model, thawed, warn_if_coupled
from inputgrad.engines import Engine
from inputgrad.ledger import Ledger
from inputgrad.places import ModelInputs
from inputgrad.terms.base import Term, TermSum, Weighted
from inputgrad.weighting import Due, Terms, due, gathered, opened, reduced


class InputGradientLoss(nn.Module):
    """A training loss that depends on the input gradient: ``criterion(model, inputs, target)`` is a 0-d tensor, right in value and parameter gradient.

    base: a loss of (output, target): a name ("mse", "cross_entropy", …), a torch loss, any callable, or None for a loss of terms alone.
    terms: terms or weighted terms, ``0.01 * GradientNorm()``; also their sum.
    engine: how the parameter gradient of the terms is obtained: "auto", a name of `inputgrad.engines.ENGINES`, or an engine object.
    output: picks the output tensor ``[N, ...]`` from what the model returns; by default the tensor itself, the first of a tuple, or ``.logits``.

    ``nn.MSELoss() + 0.01 * GradientNorm()`` builds the same. The weight of a term may be a callable of the step number; steps are counted where
    gradients are enabled and the criterion is in training mode (`step_number`, kept in its ``state_dict``).
    Under ``no_grad`` and ``inference_mode`` value and parts are right, and the loss carries no graph.
    """

    def __init__(self, base: Base, terms: Terms = (), *, engine: str | Engine = "auto", output: Callable[[Any], Tensor] | None = None) -> None:
        super().__init__()
        self.base = base_losses.resolve(base)
        self.terms = gathered(terms)
        if self.base is None and not self.terms:
            raise ValueError("InputGradientLoss needs a base loss, terms, or both; got neither")
        if output is not None and not callable(output):
            raise TypeError(f"output must be a callable that picks a tensor from what the model returns, got {type(output).__name__}")
        self.engine = engines.resolve(engine)
        self.output = output
        self.step_number = 0

    def forward(self, model: nn.Module, inputs: Any, target: Any = None) -> Tensor:
        """The loss of one batch, 0-d. ``inputs``: a tensor, a tuple (``model(*inputs)``) or a dict (``model(**inputs)``)."""
        return self.evaluate(model, inputs, target).loss

    def evaluate(self, model: nn.Module, inputs: Any, target: Any = None) -> Step:
        """The loss with its parts and the model's output."""
        with self._call(model, inputs, target) as call:
            values = self._values(call)
            total = _total(values, call.due)
            loss = call.ledger.attached(total) if call.differentiable else total.detach()
        return _step(loss, call, values)

    def backward(self, model: nn.Module, inputs: Any, target: Any = None) -> Step:
        """`evaluate` and ``loss.backward()`` in one call; the loss of the step that comes back is detached.

        Nothing is differentiated that nobody asked for: the backward pass stops short of the inputs, unless they require grad themselves; and an engine
        of several passes runs them one at a time.
        """
        if not torch.is_grad_enabled():
            raise RuntimeError("criterion.backward needs gradients: it was called under no_grad or inference_mode; for a value alone use criterion.evaluate")
        with self._call(model, inputs, target) as call:
            values = self._values(call)
            total = _total(values, call.due)
            call.ledger.backward(total)
        return _step(total.detach(), call, values)

    def losses(self, model: nn.Module, inputs: Any, target: Any = None) -> dict[str, Tensor]:
        """The parts by name, each a 0-d tensor with its own graph and without its weight: for adaptive weights and gradient aggregation.

        Their graphs overlap: ``backward(retain_graph=True)`` for all but the last. A term that is not due at this step is not among them.
        """
        with self._call(model, inputs, target) as call:
            values = self._values(call)
            return {name: call.ledger.attached(value) if call.differentiable else value.detach() for name, value in values.items()}

    @contextmanager
    def _call(self, model: nn.Module, inputs: Any, target: Any) -> Iterator["_Call"]:
        check_model(model)
        differentiable = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            given = ModelInputs.of(thawed(inputs))
            warn_if_coupled(model, self.terms)
            terms = due(self.terms, self.step_number, training=differentiable)
            ledger = Ledger(
                model, given, thawed(target),
                wrt=opened(terms, given, model), base=self.base, engine=self.engine, pick=self.output or default_output, differentiable=differentiable,
            )  # fmt: skip
            try:
                yield _Call(ledger, terms, differentiable)
            finally:
                ledger.close()
        if differentiable and self.training:
            self.step_number += 1

    def _values(self, call: "_Call") -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        if self.base is not None:
            values["base"] = call.ledger.base_value()
        for item in call.due:
            part = call.ledger.share(item.fraction)
            values[item.name] = reduced(item.term, item.term(part.batch), part.sizes())
        if not values:  # no base loss, and no term due at this step
            values["base"] = call.ledger.output().sum() * 0
        check_finite(values, call.ledger.batch)
        return values

    def get_extra_state(self) -> dict[str, int]:
        return {"step_number": self.step_number}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.step_number = state["step_number"]

    def __add__(self, other: Term | Weighted | TermSum) -> "InputGradientLoss":
        if not isinstance(other, (Term, Weighted, TermSum)):
            return NotImplemented
        return InputGradientLoss(self.base, (*self.terms, *other.weighted()), engine=self.engine, output=self.output)

    def extra_repr(self) -> str:
        return f"{' + '.join(map(repr, self.terms))}, engine={self.engine}"


@dataclass(frozen=True)
class _Call:
    """One call of the loss: its ledger, the terms due at its step, and whether gradients were enabled."""

    ledger: Ledger
    due: list[Due]
    differentiable: bool


def _total(values: Mapping[str, Tensor], terms: list[Due]) -> Tensor:
    weights = {item.name: item.weight for item in terms}
    summands = [weights.get(name, 1) * value for name, value in values.items() if weights.get(name, 1) != 0]  # weight 0: as if it were not there
    return torch.stack(summands).sum() if summands else torch.zeros_like(next(iter(values.values())))


def _step(loss: Tensor, call: _Call, values: Mapping[str, Tensor]) -> Step:
    return Step(loss, call.ledger.found(), {name: value.detach() for name, value in values.items()})


def default_output(returned: Any) -> Any:
    """The output of a model: the tensor itself, ``.logits`` of an output object, or the first of a tuple or list."""
    if isinstance(returned, Tensor):
        return returned
    if hasattr(returned, "logits"):
        return returned.logits
    return returned[0] if isinstance(returned, (tuple, list)) and len(returned) else returned
