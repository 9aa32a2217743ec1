"""Tests of the tests: engines that are wrong on purpose must fail the table, on exactly the cases where their mistake shows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from inputgrad.engines import DoubleBackward, Engine, GradientRequest, Linearization, Traits
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.replay import RandomAndBufferState
from tests.cases import Case
from tests.table import CASES, TOLERANCES, WATCHED, error

pytestmark = pytest.mark.usefixtures("unverified")  # tests/verification has the check of the first step

TERM = "norm_squared"
SOUND = TOLERANCES["double_backward"]


@dataclass(frozen=True)
class Wrong(Engine):
    """The common part: a right gradient, from which each of them makes its own mistake."""

    name: ClassVar[str] = "wrong"
    traits: ClassVar[Traits] = Traits(exact=True, needs="nothing")


class Zero(Wrong):
    """Gives the zero gradient."""

    def linearize(self, request: GradientRequest) -> Linearization:
        right = DoubleBackward().linearize(request)
        return Linearization(tuple(torch.zeros_like(part) for part in right.gradient), right.same_pass)


class Forgetful(Wrong):
    """Forgets create_graph: ⟨v, g⟩ is a constant. The popular recipe."""

    def linearize(self, request: GradientRequest) -> Linearization:
        right = DoubleBackward().linearize(request)
        assert right.same_pass is not None
        return Linearization(right.gradient, lambda v: right.same_pass(v).detach())


class Half(Wrong):
    """Drops a part of the graph: only the first half of the batch reaches the parameters."""

    def linearize(self, request: GradientRequest) -> Linearization:
        gradient = input_gradient(request.forward, request.score, request.wrt, create_graph=True)

        def along(cotangents: tuple[Tensor, ...]) -> Tensor:
            return torch.stack([(v * g)[: len(g) // 2].sum() for v, g in zip(cotangents, gradient, strict=True)]).sum()

        return Linearization(tuple(part.detach() for part in gradient), along)


class Restless(Wrong):
    """Runs the model again on other random draws and other buffers than those of the step."""

    def linearize(self, request: GradientRequest) -> Linearization:
        forward = request.forward
        again = ForwardPass(forward.model, forward.inputs, forward.wrt, forward._pick, RandomAndBufferState(forward.model))
        return DoubleBackward().linearize(replace(request, forward=again))


def failing(engine: Engine, names: list[str]) -> set[str]:
    return {name for name in names if _fails(CASES[f"{name}-{TERM}-7"], engine)}


def _fails(case: Case, engine: Engine) -> bool:
    try:
        return error(case, engine) > SOUND
    except RuntimeError:  # a buffer that the second run changed is missed by the first run's graph
        return True


def test_a_sound_engine_fails_nowhere() -> None:
    assert failing(DoubleBackward(), WATCHED) == set()


@pytest.mark.parametrize("engine", [Zero, Forgetful, Half])
def test_a_wrong_engine_fails_everywhere(engine: Callable[[], Engine]) -> None:
    assert failing(engine(), WATCHED) == set(WATCHED)


def test_an_engine_without_replay_fails_where_there_is_something_to_replay() -> None:
    assert failing(Restless(), WATCHED) == {"dropout", "counting", "spectral_norm"}


def test_a_term_that_owes_directly_to_the_parameters_needs_no_engine() -> None:
    """The adversarial term takes its gradient as a constant, so even the forgetful engine is right about it: what it shows is known."""
    assert error(CASES["mlp-fgsm-7"], Forgetful()) <= SOUND
