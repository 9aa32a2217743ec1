"""A real architecture, tiny and random, and how it is judged: each engine's parameter gradient against differences of the value."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.opdb.judging import ENGINES, NO_REFERENCE, WRONG, Gradient, Verdict, first_words, verdict
from tests.opdb.reference import AGREEMENT, Reference, reference

Made = tuple[nn.Module, dict[str, Any]]


@dataclass(frozen=True)
class Architecture:
    """One model. make: the module and its inputs by name, in float64; wrt: the input that is differentiated; pick: the output tensor ``[N, ...]``."""

    package: str
    name: str
    make: Callable[[], Made]
    wrt: str
    pick: Callable[[Any], Tensor] = field(default=lambda returned: returned)

    def fresh(self, training: bool) -> Made:
        """The same numbers each time, away from the special values that modules start from."""
        torch.manual_seed(0)
        model, inputs = self.make()
        torch.manual_seed(2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        return model.train(training), inputs


def score(output: Tensor, _: Any = None) -> Tensor:
    """Σ c·output per sample, with fixed c, for a sum of all outputs behind a LayerNorm would be constant."""
    rows = output.flatten(1) if output.dim() > 1 else output[:, None]
    return (rows * torch.linspace(-1, 1.5, rows.shape[1], dtype=rows.dtype).cos()).sum(1)


def value(architecture: Architecture, model: nn.Module, inputs: Mapping[str, Any]) -> float:
    """mean_n ‖g_n‖² by plain torch."""
    x = inputs[architecture.wrt].detach().clone().requires_grad_()
    torch.default_generator.manual_seed(1)
    (g,) = torch.autograd.grad(score(architecture.pick(model(**{**inputs, architecture.wrt: x}))).sum(), x)
    return float(g.detach().square().sum()) / len(x)


def by_criterion(architecture: Architecture, engine: str, training: bool) -> Gradient:
    model, inputs = architecture.fresh(training)
    term = ig.GradientNorm(power=2, of=score, wrt=architecture.wrt)
    criterion = ig.InputGradientLoss(None, term, engine=engine, output=architecture.pick)
    torch.default_generator.manual_seed(1)
    loss = criterion(model, inputs)
    loss.backward()
    return float(loss.detach()), [parameter.grad for parameter in trained(model)]


def trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@dataclass(frozen=True)
class Result:
    """What came of one architecture in one mode. left_out: why plain torch has no first derivative of it, or None; coarse: whether the reference is."""

    architecture: Architecture
    training: bool
    verdicts: Mapping[str, Verdict]
    left_out: str | None = None
    coarse: bool = False


def judged(architecture: Architecture, training: bool) -> Result:
    with quiet():
        try:
            model, inputs = architecture.fresh(training)
            known = reference(trained(model), partial(value, architecture, model, inputs), coarse=True)
        except Exception as error:  # the model by itself
            return Result(architecture, training, {}, f"{type(error).__name__}: {first_words(error)}")
    verdicts = {engine: _verdict(known, engine, architecture, training) for engine in ENGINES}
    none = isinstance(known, str)
    return Result(architecture, training, verdicts, known if none else None, coarse=not none and known.agreement > AGREEMENT)


def _verdict(known: Reference | str, engine: str, architecture: Architecture, training: bool) -> Verdict:
    """The verdict; none where the gradient is another than the value's, and the library has said that the model changes gradients on purpose."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        one = verdict(known, engine, partial(by_criterion, architecture, engine, training))
    if one.outcome == WRONG and any("on purpose" in str(warning.message) for warning in told):
        return Verdict(NO_REFERENCE, detail="the model changes gradients on purpose, and the library warns of it")
    return one


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
