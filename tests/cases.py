"""The table: terms × models, each with its own plain-torch reference. Every engine runs all of it, at its own tolerance (tests/core/test_table.py).

A new term adds a row to `TERMS`, a new model one to `tests.zoo.ZOO`, a new engine one to `tests.table.TOLERANCES`.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.perturbations.fgsm import FGSM
from tests import textbook
from tests.textbook import Gradients, Reference, Textbook, parameter_gradients
from tests.zoo import OUTPUTS, ZOO, Specimen


@dataclass(frozen=True)
class Row:
    """One term with its weight and its reference. ``make(wrt)`` builds the library's.

    labels: its target are class labels. one_variable: its ``wrt`` is a single key. second_order: its parameter gradient goes through the input gradient.
    """

    name: str
    make: Callable[[Any], ig.Term]
    reference: Reference
    weight: float = 0.7
    labels: bool = False
    one_variable: bool = False
    second_order: bool = True


def _ramp(x: Tensor) -> Tensor:
    """A direction of one sample's shape."""
    return torch.linspace(-1, 2, x[0].numel(), dtype=x.dtype, device=x.device).reshape(x[0].shape)


def _one_a_sample(x: Tensor) -> Tensor:
    return x.cos() + 0.1


def _norm(name: str, score: textbook.Score, of: Any, *, labels: bool = False, **settings: float) -> Row:
    return Row(name, lambda wrt: ig.GradientNorm(of=of, wrt=wrt, **settings), textbook.norm(score, **settings), labels=labels)


def _direction(name: str, score: textbook.Score, of: Any, wanted: Callable[[Tensor], Tensor], *, labels: bool = False) -> Row:
    def make(wrt: Any) -> ig.Term:
        return ig.DirectionMatch(lambda batch: wanted(batch.variable(wrt)), of=of, wrt=wrt)

    return Row(name, make, textbook.direction(score, wanted), labels=labels, one_variable=True)


def _adversarial(name: str, score: textbook.Score, loss: textbook.Score, weight: float, *, labels: bool = False, **settings: Any) -> Row:
    plain = {"epsilon": settings["epsilon"], "sign": -1 if settings.get("move") == "descend" else 1, "bounds": settings.get("bounds", (-math.inf, math.inf))}
    reference = textbook.adversarial(score, loss, **plain)
    return Row(name, lambda wrt: ig.Adversarial(FGSM(wrt=wrt, **settings)), reference, weight, labels, one_variable=True, second_order=False)


TERMS: tuple[Row, ...] = (
    _norm("norm", textbook.sum_of_outputs, "output"),
    _norm("norm_squared", textbook.sum_of_outputs, "output", power=2),
    _norm("norm_1", textbook.sum_of_outputs, "output", p=1),
    _norm("norm_3", textbook.sum_of_outputs, "output", p=3),
    _norm("norm_inf", textbook.sum_of_outputs, "output", p=math.inf),
    _norm("norm_centered", textbook.sum_of_outputs, "output", center=1, power=2),
    _norm("norm_centered_1", textbook.sum_of_outputs, "output", center=0.3),
    _norm("norm_of_loss", textbook.square_errors, "loss"),
    _norm("norm_of_entropy", textbook.cross_entropies, "loss", power=2, labels=True),
    _norm("norm_of_label", textbook.label, "label", labels=True),
    _norm("norm_of_log_prob", textbook.log_prob, "log_prob", labels=True),
    _norm("norm_of_callable", textbook.squares, textbook.squares),
    _norm("norm_of_each", textbook.each, ig.heads.EachOutput()),
    _norm("norm_of_projection", textbook.projected(2), ig.heads.RandomProjection(2), power=2),
    _direction("direction", textbook.sum_of_outputs, "output", _ramp),
    _direction("direction_a_sample", textbook.sum_of_outputs, "output", _one_a_sample),
    _direction("direction_of_label", textbook.label, "label", _ramp, labels=True),
    _adversarial("fgsm", textbook.square_errors, textbook.square_errors, 0.7, epsilon=0.1),
    _adversarial("fgsm_entropy", textbook.cross_entropies, textbook.cross_entropies, 0.7, epsilon=0.1, labels=True),
    _adversarial("fgsm_down_the_output", textbook.sum_of_outputs, textbook.square_errors, 0.7, epsilon=0.2, of="output", move="descend"),
    _adversarial("fgsm_bounded", textbook.square_errors, textbook.square_errors, 0.7, epsilon=0.3, bounds=(0.1, 0.8)),
    _adversarial("fgsm_negative", textbook.square_errors, textbook.square_errors, -0.2, epsilon=0.1),
)
ROWS = {row.name: row for row in TERMS}
TOGETHER = ("norm_squared", "direction", "fgsm")
"""The three founding losses in one sum: they share a pass and a gradient."""


@dataclass(frozen=True)
class Measured:
    """A loss and every parameter's gradient, the terms' own apart."""

    value: float
    gradients: Gradients
    terms: Gradients


@dataclass(frozen=True)
class Case:
    """A model of the zoo, a batch size, and one or several terms, over mean squared error or cross-entropy."""

    specimen: Specimen
    rows: tuple[Row, ...]
    size: int = 7

    @property
    def name(self) -> str:
        return f"{self.specimen.name}-{'+'.join(row.name for row in self.rows)}-{self.size}"

    @property
    def labels(self) -> bool:
        return any(row.labels for row in self.rows)

    @property
    def base(self) -> str:
        return "cross_entropy" if self.labels else "mse"

    def target(self) -> Tensor:
        generator = torch.Generator().manual_seed(3)
        if self.labels:
            return torch.randint(0, OUTPUTS, (self.size,), generator=generator)
        return torch.randn(self.size, OUTPUTS, generator=generator, dtype=torch.float64)

    def criterion(self, engine: Any, *, base: bool = True) -> ig.InputGradientLoss:
        terms = [row.weight * row.make(self.specimen.wrt) for row in self.rows]
        return ig.InputGradientLoss(self.base if base else _zero, terms, engine=engine, output=self.specimen.pick)

    def expected(self) -> Measured:
        """By the textbook."""
        return _expected(self)

    def found(self, engine: Any, earlier_steps: int = 0) -> Measured:
        """By the library, in a step after so many others of the same criterion and model, from the same state as the first."""
        model, inputs, target = self.specimen.make(), self.specimen.data(self.size), self.target()
        criterion, state = self.criterion(engine), copy.deepcopy(model.state_dict())
        for _ in range(earlier_steps):
            criterion(model, inputs, target).backward()
            model.zero_grad()
            model.load_state_dict(state)
        torch.default_generator.manual_seed(4)
        loss = criterion(model, inputs, target)
        return Measured(loss.item(), parameter_gradients(model, loss), {})


def _zero(output: Tensor, _target: Any) -> Tensor:
    return 0 * output.sum()


@cache
def _expected(case: Case) -> Measured:
    model, book = _pass(case)
    values = [row.weight * row.reference(book, case.specimen.plain).mean() for row in case.rows]
    terms = torch.stack(values).sum()
    total = textbook.BASES[case.base](book.output, book.target) + terms
    twin = copy.deepcopy(model)
    with case.specimen.kernel():
        own = torch.autograd.grad(terms, [p for p in model.parameters() if p.requires_grad], retain_graph=True, allow_unused=True)
        gradients = parameter_gradients(model, total)
    named = dict(zip([name for name, p in twin.named_parameters() if p.requires_grad], own, strict=True))
    return Measured(total.item(), gradients, {name: named.get(name) for name in gradients})


def _pass(case: Case) -> tuple[nn.Module, Textbook]:
    specimen = case.specimen
    model, inputs, target = specimen.make(), specimen.data(case.size), case.target()
    torch.default_generator.manual_seed(4)
    with specimen.kernel():
        return model, Textbook(model, inputs, target, specimen.plain, specimen.pick)


def table() -> Iterator[Case]:
    """Every model with every term at 7 samples, and with the three founding losses together at 1 and 2."""
    for specimen in ZOO:
        rows = [row for row in TERMS if len(specimen.plain) == 1 or not row.one_variable]
        yield from (Case(specimen, (row,)) for row in rows)
        together = tuple(row for row in rows if row.name in TOGETHER)
        yield from (Case(specimen, together, size) for size in (1, 2, 7) if size >= specimen.least)
