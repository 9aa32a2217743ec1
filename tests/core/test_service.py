"""What a training script does with a criterion besides calling it: save and load, go on after an interruption, copy, send to another process."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import catalogue
from inputgrad.engines import ENGINES
from inputgrad.recipes.generators import path_length
from tests.core.ordinary import ordinary
from tests.traced import traced

FEATURES = 6


def rising(step: int) -> float:
    return 0.02 * step


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(FEATURES, 12), nn.BatchNorm1d(12), nn.SiLU(), nn.Dropout(0.2), nn.Linear(12, 3))


def stateful(engine: str = "auto") -> ig.InputGradientLoss:
    """Everything that goes on from step to step: a running mean, a perturbation that is carried, a schedule, a weight that moves, shares, random draws."""
    terms = (
        2.0 * ig.terms.PathLength(),
        0.5 * ig.Adversarial(ig.Carried(0.05)),
        (0.1 * ig.GradientNorm(of="loss")).scheduled(every=3),
        (0.1 * ig.GradientNorm(p=1)).scheduled(fraction=0.5),
        rising * ig.GradientNorm(of=ig.heads.RandomProjection(2)),
    )
    return ig.InputGradientLoss("mse", terms, engine=traced(engine))


def batches(steps: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(8, FEATURES, generator=generator), torch.randn(8, 3, generator=generator)) for _ in range(steps)]


def train(run: tuple[nn.Module, torch.optim.Optimizer, ig.InputGradientLoss], data: list[tuple[Tensor, Tensor]], *, backward: bool) -> list[float]:
    model, optimizer, criterion = run
    losses = []
    for x, y in data:
        optimizer.zero_grad()
        if backward:
            loss = criterion.backward(model, x, y).loss
        else:
            loss = criterion(model, x, y)
            loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def fresh(engine: str = "auto") -> tuple[nn.Module, torch.optim.Optimizer, ig.InputGradientLoss]:
    model = network()
    return model, torch.optim.Adam(model.parameters(), 0.01), stateful(engine)


def loaded(buffer: io.BytesIO) -> Any:
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.filterwarnings("ignore:.*couples the samples", "ignore:engine 'compiled' does not support")
@pytest.mark.parametrize("backward", [False, True], ids=["call", "backward"])
@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"weight_as_step"}))  # the latter serves one term alone
def test_a_resumed_run_is_the_same_to_the_last_bit(engine: str, backward: bool) -> None:
    """After 5 of 10 steps everything goes through ``torch.save`` and a ``weights_only`` load into objects made anew."""
    data, whole, buffer = batches(10), fresh(engine), io.BytesIO()
    torch.manual_seed(7)
    train(whole, data[:5], backward=backward)
    torch.save({"parts": [part.state_dict() for part in whole], "random": torch.get_rng_state()}, buffer)
    expected = train(whole, data[5:], backward=backward)
    resumed, saved = fresh(engine), loaded(buffer)
    for part, state in zip(resumed, saved["parts"], strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(saved["random"])
    assert train(resumed, data[5:], backward=backward) == expected
    for found, wanted in zip(resumed[0].state_dict().values(), whole[0].state_dict().values(), strict=True):
        assert torch.equal(found, wanted)
    assert same(resumed[2].get_extra_state(), whole[2].get_extra_state())


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    return torch.equal(first, second) if isinstance(first, Tensor) else first == second


@pytest.mark.filterwarnings("ignore:.*couples the samples")
def test_what_the_resumed_run_needs_is_all_in_the_state() -> None:
    """The test above would hold for a criterion that carries nothing: without its state, the run is another."""
    data, whole = batches(10), fresh()
    torch.manual_seed(7)
    train(whole, data[:5], backward=False)
    other = (whole[0], whole[1], stateful())
    twin = copy.deepcopy(whole[0])
    random = torch.get_rng_state()
    expected = whole[2](twin, *data[5]).item()
    torch.set_rng_state(random)
    assert other[2](copy.deepcopy(whole[0]), *data[5]).item() != expected


@pytest.mark.filterwarnings("ignore:.*couples the samples")
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda item: pickle.loads(pickle.dumps(item))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("engine", sorted(set(ENGINES) - {"weight_as_step", "compiled"}))
def test_a_copy_goes_on_alike_and_apart(engine: str, duplicate: Callable[[Any], Any]) -> None:
    data, (model, _, criterion) = batches(4), fresh(engine)
    for x, y in data[:3]:
        criterion(model, x, y)
    before = copy.deepcopy(criterion.state_dict())
    copied = duplicate(criterion)
    assert same(copied.get_extra_state(), criterion.get_extra_state())
    found = []
    for item in (copied, criterion):
        torch.manual_seed(9)
        found.append(item(copy.deepcopy(model), *data[3]).item())
        if item is copied:
            assert same(criterion.state_dict(), before)  # what the copy carries is its own
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_criterion_is_copied_and_pickled_with_what_it_compiled() -> None:
    """What was compiled stays behind: the copy compiles anew and gives the same."""
    model, (x, y) = nn.Linear(FEATURES, 3), batches(1)[0]
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(of="loss", power=2), engine=traced("compiled"))
    expected = criterion(model, x, y).item()
    copied = pickle.loads(pickle.dumps(copy.deepcopy(criterion)))
    assert copied(model, x, y).item() == pytest.approx(expected, rel=1e-6)


def test_criterion_inside_a_model_is_saved_with_it() -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.criterion = nn.Linear(FEATURES, 3), ig.InputGradientLoss("mse", 0.5 * ig.Adversarial(ig.Carried(0.05)))

    first, second, (x, y), buffer = Whole(), Whole(), batches(1)[0], io.BytesIO()
    first.criterion(first.net, x, y).backward()
    torch.save(first.state_dict(), buffer)
    second.load_state_dict(loaded(buffer))
    assert second.criterion.step_number == 1
    assert same(second.criterion.get_extra_state(), first.criterion.get_extra_state())


def test_a_saved_state_is_a_snapshot() -> None:
    """What is handed out does not move when training goes on."""
    criterion, model, data = stateful(), nn.Linear(FEATURES, 3), batches(2)
    criterion(model, *data[0])
    state = criterion.state_dict()
    before = copy.deepcopy(state)
    criterion(model, *data[1])
    assert same(state, before)
    assert not same(criterion.state_dict(), before)


TERMS = [entry.made_of for entry in catalogue.entries() if entry.kind == "term"]


@pytest.mark.parametrize("kind", TERMS, ids=lambda kind: kind.__name__)
def test_every_term_is_copied_pickled_and_saved(kind: type[ig.Term]) -> None:
    """After a step of training, each copy gives what the original gives, and so does one made anew that took over the saved state."""
    model, inputs, target, base = ordinary(kind)
    criterion, buffer = ig.InputGradientLoss(base, kind.example()), io.BytesIO()
    criterion(model, inputs, target)
    torch.save(criterion.state_dict(), buffer)
    anew = ig.InputGradientLoss(base, kind.example())
    anew.load_state_dict(loaded(buffer))
    losses = []
    named = "<lambda>" not in repr(criterion)  # a function without a name cannot be pickled, whoever holds it
    for item in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion)) if named else anew, anew, criterion):
        torch.manual_seed(12)
        losses.append(item(model, inputs, target).item())
    assert losses[:3] == pytest.approx([losses[3]] * 3, rel=1e-6)  # a first step is made in full, and may round otherwise


def in_another_process(criterion: ig.InputGradientLoss, model: nn.Module, batch: tuple[Tensor, Tensor], path: str) -> None:
    torch.manual_seed(11)
    loss = criterion(model, *batch)
    loss.backward()
    torch.save({"loss": loss.detach(), "gradients": [parameter.grad for parameter in model.parameters()]}, path)


def test_a_criterion_goes_to_a_spawned_process(tmp_path: Path) -> None:
    import torch.multiprocessing as processes

    model, criterion, batch = nn.Linear(FEATURES, 3), stateful(), batches(1)[0]
    criterion(model, *batch)
    processes.spawn(_spawned, (criterion, model, batch, str(tmp_path / "found.pt")), nprocs=1)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    in_another_process(criterion, model, batch, str(tmp_path / "expected.pt"))
    expected = torch.load(tmp_path / "expected.pt", weights_only=True)
    assert torch.equal(found["loss"], expected["loss"])
    assert all(torch.equal(a, b) for a, b in zip(found["gradients"], expected["gradients"], strict=True))


def _spawned(_rank: int, *arguments: Any) -> None:
    torch.set_num_threads(1)
    in_another_process(*arguments)


def test_the_criterion_of_a_recipe_keeps_its_running_mean() -> None:
    criterion = ig.InputGradientLoss(None, path_length())
    criterion(nn.Linear(FEATURES, 3), batches(1)[0][0])
    (state,) = criterion.get_extra_state()["terms"].values()
    assert all(value.abs().sum() > 0 for value in state.values())


def test_a_share_of_a_term_with_a_state_is_refused() -> None:
    """It would never go on: a share is drawn anew at each step, and the perturbation would stay at zero without a word."""
    with pytest.raises(ValueError, match="carries a state"):
        ig.recipes.free_adversarial(epsilon=0.1).scheduled(fraction=0.5)
