"""One training step of several calls: closures and accumulation are counted once, and the same batch draws the same numbers."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def data(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 4, generator=generator, dtype=torch.float64), torch.randn(size, 3, generator=generator, dtype=torch.float64)


def plain(model: nn.Module, x: Tensor, y: Tensor, weight: float) -> Tensor:
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
    return nn.functional.mse_loss(model(x), y) + weight * g.square().sum(1).mean()


def test_calls_inside_count_as_one_step() -> None:
    model, (x, y) = network(), data()
    criterion = nn.MSELoss() + (0.1 * ig.GradientNorm(power=2)).scheduled(every=4)
    for step in range(9):
        expected = plain(model, x, y, 0.4 if step % 4 == 0 else 0.0).detach()
        with criterion.one_step():
            for call in (criterion, criterion, criterion.evaluate, criterion.backward, criterion):
                found = call(model, x, y)
                torch.testing.assert_close((found if isinstance(found, Tensor) else found.loss).detach(), expected)
        assert criterion.step_number == step + 1


def test_a_warm_up_runs_by_steps_under_accumulation() -> None:
    model, (x, y) = network(), data()
    criterion = nn.MSELoss() + (lambda step: 0.1 * step) * ig.GradientNorm(power=2)
    for step in range(3):
        with criterion.one_step():
            for half in (slice(0, 3), slice(3, 6)):
                loss = criterion(model, x[half], y[half])
                torch.testing.assert_close(loss.detach(), plain(model, x[half], y[half], 0.1 * step).detach())
    for number in range(6):  # blocks in a loop: each second one is the last of its step
        with criterion.one_step(last=number % 2 == 1):
            criterion(model, x, y)
        assert criterion.step_number == 4 + number // 2
    criterion(model, x, y)
    assert criterion.step_number == 7


@pytest.mark.parametrize("term", [
    ig.GradientNorm(of=ig.heads.RandomProjection(1)),
    ig.GradientNorm(at=ig.Uniform()),
    ig.GradientNorm().scheduled(fraction=0.5),
])  # fmt: skip
def test_the_same_batch_draws_the_same_numbers_and_others_their_own(term: ig.Term) -> None:
    model, (x, y) = network(), data(60)
    criterion = ig.InputGradientLoss("mse", term)
    with criterion.one_step():
        first, other, again = criterion(model, x, y), criterion(model, x.clone(), y), criterion(model, x, y)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with criterion.one_step():
        assert not torch.equal(criterion(model, x, y), first), "the next step draws anew"
    assert not torch.equal(criterion(model, x, y), criterion(model, x, y)), "outside, each call draws anew"
    x += 0  # written on: it may be another batch
    with criterion.one_step():
        first = criterion(model, x, y)
        x += 0
        assert not torch.equal(first, criterion(model, x, y))


def test_the_random_state_goes_on_as_if_the_batch_had_been_evaluated_once() -> None:
    model, (x, y) = network(), data()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(of=ig.heads.RandomProjection(1)))
    criterion(model, x, y)
    states = []
    for calls in (1, 4):
        torch.manual_seed(0)
        with criterion.one_step():
            for _ in range(calls):
                criterion(model, x, y)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_closures_of_an_optimiser_are_told_by_themselves() -> None:
    model, (x, y) = network(), data()
    criterion = nn.MSELoss() + (0.1 * ig.GradientNorm(of=ig.heads.RandomProjection(1), power=2)).scheduled(every=4)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=5, lr=0.1)
    seen: list[list[tuple[set[str], float]]] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        step = criterion.evaluate(model, x, y)
        step.loss.backward()
        with torch.no_grad():  # the same parameters give the same loss: nothing is drawn anew
            assert torch.equal(criterion(model, x, y), criterion(model, x, y))
        seen[-1].append((set(step.parts), float(step.loss.detach())))
        return step.loss

    for number in range(5):
        seen.append([])
        optimizer.step(closure)
        assert criterion.step_number == number + 1
    assert all(len(calls) > 1 for calls in seen)
    for number, calls in enumerate(seen):
        expected = {"base", "gradient_norm"} if number % 4 == 0 else {"base"}
        assert all(parts == expected for parts, _ in calls)
    criterion(model, x, y)
    criterion(model, x, y)
    assert criterion.step_number == 7, "outside of the optimiser each call is a step"


def test_a_closure_that_raises_leaves_nothing_behind() -> None:
    model, (x, y) = network(), data()
    criterion = nn.MSELoss() + ig.GradientNorm()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def closure() -> Tensor:
        criterion(model, x, y)
        raise KeyError("stop")

    with pytest.raises(KeyError):
        optimizer.step(closure)
    assert criterion.step_number == 1
    for number in range(2, 5):
        criterion(model, x, y)
        assert criterion.step_number == number


def test_state_moves_once_for_a_batch() -> None:
    model, (x, y) = network(), data()
    once, again = (ig.InputGradientLoss("mse", ig.PathLength()) for _ in range(2))
    torch.manual_seed(0)
    once(model, x, y)
    torch.manual_seed(0)
    with again.one_step():
        for _ in range(3):
            again(model, x, y)
    state, other = (criterion.get_extra_state()["terms"]["path_length"] for criterion in (once, again))
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_copies_and_counting_nothing() -> None:
    model, (x, y) = network(), data()
    criterion = nn.MSELoss() + ig.GradientNorm()
    with criterion.one_step():
        criterion(model, x, y)
        for other in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
            other(model, x, y)
            assert other.step_number == 2
    with criterion.one_step(), torch.no_grad():
        criterion(model, x, y)
    assert criterion.step_number == 1
    with criterion.one_step(), criterion.one_step():
        criterion(model, x, y)
        criterion(model, x, y)
    assert criterion.step_number == 2


CARRYING = {
    "free": lambda: ig.recipes.free_adversarial(epsilon=0.1),
    "path length": lambda: ig.recipes.path_length(2.0),
}


@pytest.mark.parametrize("name", CARRYING)
@pytest.mark.parametrize("by_closure", [True, False])
def test_what_a_term_carries_is_that_of_the_first_evaluation_of_the_batch(name: str, by_closure: bool) -> None:
    """Each step sees its state move once, and every evaluation of a batch the state from before it."""
    model, batches = network(), [data(6), tuple(part.flip(0)[:4] for part in data(6))]
    criterion = ig.InputGradientLoss("mse", CARRYING[name]())
    apart = ig.InputGradientLoss("mse", CARRYING[name]())  # each batch once, in order
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.0, max_iter=3, line_search_fn=None)
    for step in range(3):
        torch.manual_seed(step)
        wanted = [apart(model, x, y).item() for x, y in batches]
        torch.manual_seed(step)
        found: list[list[float]] = []

        def closure(found: list[list[float]] = found) -> Tensor:
            optimizer.zero_grad()
            losses = [criterion(model, x, y) for x, y in batches]
            found.append([loss.item() for loss in losses])
            total = torch.stack(losses).sum()
            total.backward()
            return total

        if by_closure:
            optimizer.step(closure)  # type: ignore[arg-type]  # returns a tensor, as torch's own closures do
        else:
            with criterion.one_step():
                closure(), closure()
        assert len(found) > 1
        for each in found:
            assert each == pytest.approx(wanted, rel=1e-12)
        for mine, theirs in zip(criterion.terms, apart.terms, strict=True):
            for key, value in mine.term.state().items():
                torch.testing.assert_close(value, theirs.term.state()[key])
