"""The loss: a base loss plus weighted terms on the input gradient. The only place where heads, terms and engines meet.

total(θ) = mean_n loss(f(x_n; θ), y_n) + Σ_k w_k · mean_n R_k(g_n, …)        g_n = ∂ s(f(x_n; θ), y_n) / ∂ x_n
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses, engines
from inputgrad.base_losses import Base
from inputgrad.batch import Step
from inputgrad.checks import check_finite, check_model, thawed, warn_if_coupled
from inputgrad.engines import Engine
from inputgrad.ledger import Ledger, canonical
from inputgrad.places import Key, ModelInputs
from inputgrad.terms.base import Term, TermSum, Weighted

Terms = Term | Weighted | TermSum | Iterable[Term | Weighted]


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
        self.terms = _weighted(terms)
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
        with self._call(model, inputs, target) as (ledger, differentiable):
            values = self._values(ledger)
            total = self._total(values)
            loss = ledger.attached(total) if differentiable else total.detach()
        return self._step(loss, ledger, values)

    def backward(self, model: nn.Module, inputs: Any, target: Any = None) -> Step:
        """`evaluate` and ``loss.backward()`` in one call; the loss of the step that comes back is detached.

        Nothing is differentiated that nobody asked for: the backward pass stops short of the inputs, unless they require grad themselves.
        """
        if not torch.is_grad_enabled():
            raise RuntimeError("criterion.backward needs gradients: it was called under no_grad or inference_mode; for a value alone use criterion.evaluate")
        with self._call(model, inputs, target) as (ledger, _):
            values = self._values(ledger)
            total = self._total(values)
            ledger.backward(total)
        return self._step(total.detach(), ledger, values)

    def _step(self, loss: Tensor, ledger: Ledger, values: Mapping[str, Tensor]) -> Step:
        return Step(loss, ledger.found(), {name: value.detach() for name, value in values.items()})

    def losses(self, model: nn.Module, inputs: Any, target: Any = None) -> dict[str, Tensor]:
        """The parts by name, each a 0-d tensor with its own graph and without its weight: for adaptive weights and gradient aggregation.

        Their graphs overlap: ``backward(retain_graph=True)`` for all but the last.
        """
        with self._call(model, inputs, target) as (ledger, differentiable):
            values = self._values(ledger)
            return {name: ledger.attached(value) if differentiable else value.detach() for name, value in values.items()}

    @contextmanager
    def _call(self, model: nn.Module, inputs: Any, target: Any) -> Iterator[tuple[Ledger, bool]]:
        check_model(model)
        differentiable = torch.is_grad_enabled()
        with torch.inference_mode(False), torch.enable_grad():
            given = ModelInputs.of(thawed(inputs))
            warn_if_coupled(model, self.terms)
            ledger = Ledger(
                model, given, thawed(target),
                wrt=self._variables(given, model), base=self.base, engine=self.engine, pick=self.output or default_output, differentiable=differentiable,
            )  # fmt: skip
            try:
                yield ledger, differentiable
            finally:
                ledger.close()
        if differentiable and self.training:
            self.step_number += 1

    def _variables(self, inputs: ModelInputs, model: nn.Module) -> tuple[Key, ...]:
        """Everything that the terms will differentiate with respect to, so that one forward pass serves them all."""
        named: dict[Key, None] = {}
        for weighted in self.terms:
            declared = weighted.term.variables()
            if declared is not None:
                named.update(dict.fromkeys(canonical(declared, inputs, model)))
            else:  # a function that does not say: the first input, where it can be differentiated
                first, value = next(iter(inputs.values().items()))
                if isinstance(value, Tensor) and value.is_floating_point():
                    named[first] = None
        return tuple(named)

    def _values(self, ledger: Ledger) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        if self.base is not None:
            values["base"] = ledger.base_value()
        for name, weighted in zip(self._names(), self.terms, strict=True):
            values[name] = _reduced(weighted.term, weighted.term(ledger.batch), ledger.sizes())
        check_finite(values, ledger.batch)
        return values

    def _total(self, values: Mapping[str, Tensor]) -> Tensor:
        weights = {name: weighted.at_step(self.step_number) for name, weighted in zip(self._names(), self.terms, strict=True)}
        summands = [weights.get(name, 1) * value for name, value in values.items() if weights.get(name, 1) != 0]  # weight 0: as if it were not there
        return torch.stack(summands).sum() if summands else torch.zeros_like(next(iter(values.values())))

    def _names(self) -> list[str]:
        """One name a term, the later ones of the same name numbered."""
        names: list[str] = []
        taken = {"base"}
        for weighted in self.terms:
            name, number = weighted.term.name, 2
            while name in taken:
                name, number = f"{weighted.term.name}_{number}", number + 1
            taken.add(name)
            names.append(name)
        return names

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


def default_output(returned: Any) -> Any:
    """The output of a model: the tensor itself, ``.logits`` of an output object, or the first of a tuple or list."""
    if isinstance(returned, Tensor):
        return returned
    if hasattr(returned, "logits"):
        return returned.logits
    return returned[0] if isinstance(returned, (tuple, list)) and len(returned) else returned


def _weighted(terms: Terms) -> tuple[Weighted, ...]:
    if isinstance(terms, (Term, Weighted, TermSum)):
        return terms.weighted()
    found: list[Weighted] = []
    for item in terms:
        if not isinstance(item, (Term, Weighted, TermSum)):
            raise TypeError(f"terms must be terms or weighted terms, got {item!r}; make one of a function with @inputgrad.term")
        found.extend(item.weighted())
    return tuple(found)


def _reduced(term: Term, result: Any, sizes: list[int]) -> Tensor:
    """The mean of a per-sample term, or a statistic of the batch as it is; its shape checked against the number of samples (at the term's place)."""
    expected = (
        "a 0-d tensor, since it declares per='batch'" if term.per == "batch" else f"one number a sample, [N] = {' or '.join(f'[{size}]' for size in sizes)}"
    )
    if not isinstance(result, Tensor) or not result.is_floating_point():
        raise TypeError(f"the term {term.name} must return {expected}; got {type(result).__name__ if not isinstance(result, Tensor) else result.dtype}")
    right = result.dim() == 0 if term.per == "batch" else result.dim() == 1 and (not sizes or result.shape[0] in sizes)
    if not right:
        hint = "" if result.dim() else '; the library takes the mean itself, or declare a statistic of the batch with @inputgrad.term(per="batch")'
        raise ValueError(f"the term {term.name} must return {expected}; got shape {list(result.shape)}{hint}")
    return result if term.per == "batch" else result.mean()
