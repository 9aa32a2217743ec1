"""The benchmark's machinery on small things. No timing is asserted: only that what is told is what was done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad.bench import command, timing
from inputgrad.bench.problem import Problem, default_criterion
from inputgrad.bench.ways import engine_way, gradient_of, refusal, relative
from tests.bench.problems import small

ROOT = Path(__file__).parents[2]
EAGER = ["double_backward", "reverse_over_forward", "central", "one_sided"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("engine", ["double_backward", "finite_difference"])
def test_the_gradient_of_the_term_is_that_of_the_term(engine: str) -> None:
    """Against the handwritten gradient in float64, though the base loss is a part of what is run; with a weight a millionth of the base loss's."""
    model, inputs, target = small()
    criterion = nn.CrossEntropyLoss() + 1e-6 * ig.GradientNorm(power=2, of="loss")
    problem = Problem.of((model, inputs, target, criterion))
    found = engine_way(criterion, engine, model, inputs, target).term_gradient(problem.plain)
    exact, x = model.double(), inputs.double().requires_grad_()
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(exact(x), target, reduction="sum"), x, create_graph=True)
    term = torch.autograd.grad(1e-6 * g.square().sum(1).mean(), list(exact.parameters()), materialize_grads=True)
    assert relative(found, torch.cat([part.flatten() for part in term])) < (1e-5 if engine == "double_backward" else 1e-3)


def test_the_dial_is_back_at_one() -> None:
    model, inputs, target = small()
    criterion = default_criterion(target)
    way = engine_way(criterion, "double_backward", model, inputs, target)
    problem = Problem.of((model, inputs, target))
    way.term_gradient(problem.plain)
    assert way.dial.factor == 1
    expected = gradient_of(lambda: (model.zero_grad(), criterion.backward(model, inputs, target)), model)
    assert torch.equal(gradient_of(way.step, model), expected)


def test_rows_of_a_model_with_dropout() -> None:
    """Every way draws the same masks when gradients are compared."""
    rows = command.measured(Problem.of(small(nn.Dropout(0.5))), EAGER, rounds=1)
    assert list(rows) == ["plain", *EAGER]
    assert rows["double_backward"]["error"] == "reference"
    assert rows["reverse_over_forward"]["error"] < 1e-5
    assert rows["one_sided"]["error"] < 1e-2
    assert all(row["milliseconds"] > 0 for row in rows.values())


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class OnceDifferentiable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Once.apply(x.square())


def test_what_an_engine_refuses_is_told() -> None:
    rows = command.measured(Problem.of(small(OnceDifferentiable())), ["double_backward", "central"], rounds=1)
    assert "refused" in rows["double_backward"]
    assert "ratio" in rows["central"]
    told = command.table(rows)
    assert "cannot run" in told
    assert f"double_backward: {rows['double_backward']['refused']}" in told


def test_a_step_that_falls_back_has_not_served() -> None:
    def step() -> None:
        import warnings

        warnings.warn("engine 'compiled' does not support Model: reasons", stacklevel=1)

    assert refusal(step) == "engine 'compiled' does not support Model: reasons"
    assert refusal(lambda: None) is None


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (3, "must return"),
        ((1, 2, 3), "model is a int"),
        ((nn.Linear(2, 2), torch.zeros(1, 2), (1,)), "return a criterion too"),
        ((nn.Linear(2, 2), torch.zeros(1, 2), None, nn.MSELoss()), "InputGradientLoss with at least one term"),
        ((nn.Identity(), torch.zeros(1, 2), torch.zeros(1, 2)), "no parameter"),
    ],
)
def test_what_cannot_be_measured(returned: Any, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        command.asked(returned, [], 1)


def test_unknown_engines_and_rounds() -> None:
    with pytest.raises(ValueError, match="did you mean 'central'"):
        command.asked(small(), ["centrall"], 1)
    with pytest.raises(ValueError, match="rounds"):
        command.asked(small(), [], 0)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = pytest.importorskip("typer.testing").CliRunner()
    from inputgrad.cli import app

    (tmp_path / "mine_to_measure.py").write_text("from tests.bench.problems import small as made\nbad = lambda: 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "figures.json"
    ended = runner.invoke(app, ["bench", "mine_to_measure:made", "--rounds", "1", "--engines", "double_backward,one_sided", "--json", str(out)])
    assert ended.exit_code == 0, ended.output
    figures = json.loads(out.read_text())
    assert list(figures["rows"]) == ["plain", "double_backward", "one_sided"]
    assert figures["environment"]["torch"] == torch.__version__
    refused = runner.invoke(app, ["bench", "mine_to_measure:bad"])
    assert refused.exit_code == 1
    assert "got int" in refused.output


@pytest.mark.parametrize(("most", "runs"), [(1, 2), (20, 21)])
def test_rounds_are_interleaved(most: int, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way runs once or several times in its turn, after once that does not count."""
    monkeypatch.setattr(timing, "MOST", most)
    order: list[str] = []
    times = timing.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warm=0, budget=0)
    assert order[:2] == ["a", "b"], "how long each takes"
    assert order[2:] == (["a"] * runs + ["b"] * runs) * 3
    assert {name: len(seconds) for name, seconds in times.seconds.items()} == {"a": 3, "b": 3}


def test_ratios_are_medians_of_pairs() -> None:
    times = timing.Times({"plain": [1.0, 2.0, 4.0], "way": [2.0, 4.0, 40.0]}, 0)
    assert times.ratio("way", "plain") == 2
