"""An ordinary step of an exact engine never waits for a device, and one of differences once: counted on CPU tensors that stand for a device's."""

import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad.engines import Compiled, FiniteDifference, WeightAsStep
from tests.cases import ROWS, TERMS, Case, Row
from tests.devices.waits import counted
from tests.traced import BACKEND
from tests.zoo import ZOO

SPECIMENS = {specimen.name: specimen for specimen in ZOO}
MLP = SPECIMENS["mlp"]
MODELS = ("mlp_relu", "cnn_max_pool", "cnn_group_norm", "dropout", "batch_norm", "attention", "tuple_several")
SECOND_ORDER = [row for row in TERMS if row.second_order]


def waits(case: Case, engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[Counter[str]]:
    """Of a second step, in both forms, and of one with another batch."""
    warnings.filterwarnings("ignore", message=".*couples the samples.*")
    monkeypatch.setenv("INPUTGRAD_VERIFY", "0")  # the check of a first step waits, and is not what is counted
    model, inputs, target = case.specimen.make(), case.specimen.data(case.size), case.target()
    criterion = case.criterion(engine)
    for _ in range(2):
        criterion(model, inputs, target).backward()
        criterion.backward(model, inputs, target)
    steps = []
    for batch in (inputs, case.specimen.data(case.size)):
        with counted(monkeypatch) as first:
            criterion(model, batch, target).backward()
        with counted(monkeypatch) as second:
            criterion.backward(model, batch, target)
        steps += [first, second]
    return steps


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward"])
@pytest.mark.parametrize("row", TERMS, ids=lambda row: row.name)
def test_an_exact_step_does_not_wait(engine: str, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(Case(MLP, (row,)), engine, monkeypatch) == [Counter()] * 4


@pytest.mark.parametrize("name", MODELS)
def test_nor_does_it_with_another_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(Case(SPECIMENS[name], (ROWS["norm_squared"],)), "double_backward", monkeypatch) == [Counter()] * 4


@pytest.mark.parametrize("name", ["norm_squared", "norm_of_loss", "norm_of_each", "direction", "fgsm"])
def test_nor_does_a_compiled_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits(Case(MLP, (ROWS[name],)), Compiled(backend=BACKEND), monkeypatch) == [Counter()] * 4


@pytest.mark.parametrize("row", SECOND_ORDER, ids=lambda row: row.name)
def test_a_step_of_differences_waits_once(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the size of the displacement; where base loss and term share passes, for what of the base loss is left in the same transfer."""
    assert all(sum(step.values()) <= 1 for step in waits(Case(MLP, (row,)), "finite_difference", monkeypatch))


@pytest.mark.parametrize("engine", [FiniteDifference("one_sided"), WeightAsStep(largest=10.0)], ids=lambda engine: engine.name)
def test_nor_more_than_once_do_a_one_sided_one_and_the_weight_as_step(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(sum(step.values()) <= 1 for step in waits(Case(MLP, (ROWS["norm_of_loss"],)), engine, monkeypatch))


def test_nor_does_one_of_several_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ROWS["norm_of_loss"], ROWS["norm_squared"]
    assert all(sum(step.values()) <= 1 for step in waits(Case(MLP, rows), "finite_difference", monkeypatch))


@pytest.mark.parametrize(
    "equation", [lambda u: u.laplacian(), lambda u: u.d("xx") + u.d("yy") * u.value, lambda u: u.d("xxxx") + 2 * u.d("xxyy") + u.d("yyyy")]
)
def test_nor_does_a_step_on_an_equation(equation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INPUTGRAD_VERIFY", "0")
    model, points = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)), torch.rand(5, 2)
    criterion = ig.InputGradientLoss(None, ig.Residual(equation, names="xy"))
    for _ in range(3):
        criterion.backward(model, points)
    with counted(monkeypatch) as step:
        criterion.backward(model, points)
    assert step == Counter()


def test_the_counter_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(3.0)
    with counted(monkeypatch) as seen:
        x.sum().item()
        bool(x.any())
        x[x > 1]
        x.nonzero()
        torch.equal(x, x)
        x.tolist()
        x.cpu()
        x.new_tensor([1.0])
        torch.tensor([1.0], device=x.device)
    assert seen == Counter(_local_scalar_dense=2, nonzero=1, equal=1, tolist=1, cpu=1, new_tensor=1, tensor=1) + Counter({"index by a mask": 1})
