"""What an audit must leave as it was: torch, and the values, gradients, random draws, warnings and exceptions of the run."""

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as modules
from torch.optim import optimizer as optimisers

from inputgrad.audit import Finding, audit
from inputgrad.audit.probes.run_watcher import RunWatcher, StopWatching

CLASSES = (torch.optim.Optimizer, torch.optim.Adam, torch.optim.SGD, nn.Module, nn.parallel.DistributedDataParallel, torch.amp.GradScaler, Tensor)
PLACES = (torch, torch.autograd, torch.autograd.graph, torch.autograd.functional, torch.func, torch.cuda.amp, torch.nn.functional)


def state_of_torch() -> dict[str, Any]:
    """Everything of torch that a watch could have put its hands on: functions by place, global hooks, modes."""
    names = {f"{cls.__module__}.{cls.__qualname__}.{name}": value for cls in CLASSES for name, value in vars(cls).items() if callable(value)}
    names |= {f"{place.__name__}.{name}": value for place in PLACES for name, value in vars(place).items() if callable(value)}
    hooks = [value for owner in (optimisers, modules) for name, value in vars(owner).items() if name.startswith("_global_") and isinstance(value, dict)]
    return {
        "names": {name: id(value) for name, value in names.items()},
        "hooks": [dict(value) for value in hooks],
        "modes": torch._C._len_torch_function_stack(),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
    }


def penalised(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return F.mse_loss(model(x), y) + 0.1 * g.norm(dim=1).mean()


def popular(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The term that trains nothing: the audit computes its effect in a process of its own."""
    out = model(x)
    out.sum().backward(retain_graph=True)
    model.zero_grad()
    return F.mse_loss(out, y) + 0.1 * x.grad.norm(dim=1).mean()


def by_value(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return F.mse_loss(model(x), y) + 0.1 * float(g.norm().detach()) + g.abs().mean().item()


def by_func(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    g = torch.func.vmap(torch.func.grad(lambda row: model(row[None]).sum()), randomness="different")(x)
    return F.mse_loss(model(x), y) + 0.1 * g.norm(dim=1).mean()


def train(loss: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Six steps with dropout and momentum; all losses, gradients and weights, and what is drawn at the end."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    kept = []
    for _ in range(6):
        x, y = torch.randn(16, 5, requires_grad=True), torch.randn(16, 1)
        value = loss(model, x, y)
        optimizer.zero_grad()
        value.backward()
        kept += [value.detach(), *(p.grad.clone() for p in model.parameters())]
        optimizer.step()
    return [*kept, *(p.detach() for p in model.parameters()), torch.rand(4), torch.random.get_rng_state()]


@pytest.mark.parametrize("loss", [penalised, popular, by_value, by_func])
def test_the_training_is_the_same_bit_by_bit(loss: Callable[..., Tensor]) -> None:
    alone = train(loss)
    with audit(steps=3):
        watched = train(loss)
    assert len(alone) == len(watched)
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))


def test_nothing_of_torch_stays_changed() -> None:
    before = state_of_torch()
    with audit():
        train(popular)
    assert state_of_torch() == before


def test_nothing_of_torch_stays_changed_where_the_block_raises() -> None:
    before = state_of_torch()
    with pytest.raises(ZeroDivisionError), audit():
        train(lambda *_: 1 / 0)
    assert state_of_torch() == before


def test_nothing_of_torch_stays_changed_where_the_watch_ends_the_run() -> None:
    before = state_of_torch()
    with pytest.raises(StopWatching), RunWatcher(2, stop=True):
        train(penalised)
    assert state_of_torch() == before


def test_the_context_manager_hands_out_its_findings_at_the_end() -> None:
    with audit() as findings:
        train(popular)
        assert findings == []
    assert [finding.code for finding in findings] == ["IG101"]
    assert isinstance(findings[0], Finding)
    assert findings[0].site.function == "popular"
    assert "with a graph" in findings[0].measured


def test_the_findings_are_there_where_the_block_raises() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"), audit() as findings:
        torch.autograd.grad(nn.Linear(2, 1)(torch.ones(3, 2)).sum(), torch.ones(3, 2))
    assert [finding.code for finding in findings] == ["IG105"]


def test_a_backward_by_the_function_of_torch_counts_once() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with RunWatcher() as watcher:
        torch.autograd.backward([(2 * weight).sum()])
        optimizer.step()
    assert [call.kind for call in watcher.facts.calls] == ["backward"]
    assert watcher.facts.steps[0].shares == {watcher.facts.calls[0]: pytest.approx(12**0.5)}


def test_a_penalty_through_the_function_of_torch_counts_once() -> None:
    """By ``loss.backward()`` the watcher's own mode is off while the loss is looked at; by the function it would be on."""
    model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(3, 5, requires_grad=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with RunWatcher() as watcher:
        torch.autograd.backward([penalised(model, x, torch.zeros(3, 1))])
        optimizer.step()
    assert [call.kind for call in watcher.facts.calls] == ["grad", "backward"]
    (term,) = watcher.facts.calls[1].graph.live_terms
    assert term.effect is not None
    assert term.effect > 0
    assert not any(call.fate.parameter_gradient_read or call.fate.input_gradient_read for call in watcher.facts.calls)
    assert [operation.name for operation in term.gradient.operations] == ["norm", "mean", "mul", "add"]


def test_gradients_by_edges_of_the_graph_are_left_alone() -> None:
    """`GradientEdge` in place of a tensor: as the input, as the output, and as the root of a backward pass."""
    weight = nn.Parameter(torch.ones(3))
    middle = 2 * weight
    edge = torch.autograd.graph.get_gradient_edge(middle)
    with audit() as findings:
        (of_edge,) = torch.autograd.grad(middle.square().sum(), edge, retain_graph=True)
        (from_edge,) = torch.autograd.grad(edge, weight, torch.ones(3), retain_graph=True)
        torch.autograd.backward(edge, torch.ones(3))
    assert of_edge.tolist() == [4.0] * 3
    assert from_edge.tolist() == weight.grad.tolist() == [2.0] * 3
    assert findings == []


def test_fewer_than_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"), audit(steps=0):
        pass


def test_numbers_taken_out_of_a_gradient_behave_as_floats() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    with audit():
        (g,) = torch.autograd.grad(x.square().sum(), x, create_graph=True)
        norm = g.norm()
        number, plain = norm.item(), float(norm.detach())
        assert type(plain) is float
        assert isinstance(number, float)
        assert number == plain
        assert json.dumps(number) == json.dumps(plain)
        assert type(pickle.loads(pickle.dumps(number))) is float
        assert f"{2 * number:.4f}" == f"{2 * plain:.4f}"


def test_the_process_that_computes_an_effect_never_leaves_the_block(tmp_path: Path) -> None:
    def fails_with_a_graph(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        value = popular(model, x, y)
        if x.grad.requires_grad:
            raise RuntimeError("seen in the other process alone")
        return value

    with audit() as findings:
        train(fails_with_a_graph)
    with (tmp_path / "left").open("a") as file:
        file.write(f"{os.getpid()}\n")
    assert [finding.code for finding in findings] == ["IG101"]
    assert (tmp_path / "left").read_text().split() == [str(os.getpid())]


def test_no_warning_is_added() -> None:
    with warnings.catch_warnings(record=True) as caught, audit():
        warnings.simplefilter("always")
        train(by_value)
        train(popular)
    assert [str(item.message) for item in caught if "audit" in str(item.filename)] == []
    assert not caught
