"""Terms that are not taken at every step, or on a share of the batch: unbiased, and absent where they are not due."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig

pytestmark = pytest.mark.usefixtures("unverified")  # passes are counted

ENGINES = ["double_backward", "finite_difference"]
TERM = ig.GradientNorm(of="loss", power=2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def data(size: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, 5, generator=generator, dtype=torch.float64), torch.randint(0, 3, (size,), generator=generator)


def gradient(criterion: nn.Module, model: nn.Module, inputs: Any, target: Tensor, *, at_once: bool = False) -> Tensor:
    model.zero_grad()
    if at_once:
        criterion.backward(model, inputs, target)
    else:
        criterion(model, inputs, target).backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_kth_step_adds_up_to_the_full_term(engine: str, at_once: bool) -> None:
    model, (x, y) = network(), data()
    full = gradient(ig.InputGradientLoss("cross_entropy", 0.3 * TERM, engine=engine), model, x, y)
    lazy = ig.InputGradientLoss("cross_entropy", (0.3 * TERM).scheduled(every=4), engine=engine)
    mean = torch.stack([gradient(lazy, model, x, y, at_once=at_once) for _ in range(8)]).mean(0)
    torch.testing.assert_close(mean, full, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_all_shares_of_the_batch_together_give_the_full_term(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly, not in the mean of some draws: every subset of 2 of 6 samples once."""
    model, (x, y) = network(), data()
    full = gradient(ig.InputGradientLoss("cross_entropy", 0.3 * TERM, engine=engine), model, x, y)
    part = ig.InputGradientLoss("cross_entropy", (0.3 * TERM).scheduled(fraction=1 / 3), engine=engine)
    found = []
    for rows in itertools.combinations(range(6), 2):
        monkeypatch.setattr(torch, "randperm", lambda size, rows=rows: torch.tensor([*rows, *(set(range(size)) - set(rows))]))
        found.append(gradient(part, model, x, y, at_once=len(found) % 2 == 1))
    torch.testing.assert_close(torch.stack(found).mean(0), full, rtol=1e-9, atol=1e-11)


def test_a_term_that_is_not_due_costs_nothing_and_reports_nothing() -> None:
    model, (x, y) = network(), data()
    criterion = ig.InputGradientLoss("cross_entropy", TERM.scheduled(every=2))
    due, absent = criterion.evaluate(model, x, y), criterion.evaluate(model, x, y)
    assert set(due.parts) == {"base", "gradient_norm"}
    assert set(absent.parts) == {"base"}
    plain = nn.functional.cross_entropy(model(x), y)
    torch.testing.assert_close(absent.loss, plain)


def test_evaluation_has_all_terms_on_the_whole_batch() -> None:
    model, (x, y) = network(), data()
    criterion = ig.InputGradientLoss("cross_entropy", (0.3 * TERM).scheduled(every=5, fraction=0.5))
    criterion(model, x, y)
    with torch.no_grad():
        torch.testing.assert_close(criterion(model, x, y), ig.InputGradientLoss("cross_entropy", 0.3 * TERM)(model, x, y))


def test_a_share_of_a_dict_and_of_the_target() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return self.body(x) * scale

    x, y = data()
    seen = []

    @ig.term(wrt="x")
    def watch(batch: ig.Batch) -> Tensor:
        seen.append((batch.inputs["x"], batch.target))
        return batch.gradient(of="loss", wrt="x").square().sum(1)

    criterion = ig.InputGradientLoss("cross_entropy", watch.scheduled(fraction=0.5))
    criterion(Named(), {"x": x, "scale": torch.ones((), dtype=torch.float64)}, y).backward()
    ((rows, labels),) = seen
    assert rows.shape == (3, 5)
    places_in_batch = [int((x == row).all(1).nonzero()) for row in rows]
    assert torch.equal(labels, y[places_in_batch])


@pytest.mark.parametrize(
    ("settings", "text"),
    [({"every": 0}, "every of gradient_norm must be a whole number"), ({"every": 2.5}, "whole number"), ({"fraction": 0}, "share of the batch")],
)
def test_bad_schedules_are_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        TERM.scheduled(**settings)


def test_a_statistic_of_the_batch_has_no_share() -> None:
    statistic = ig.term(per="batch")(lambda batch: batch.gradient().std())
    with pytest.raises(ValueError, match="statistic of the batch"):
        statistic.scheduled(fraction=0.5)


def test_lazy_adam_is_the_papers_rule() -> None:
    """StyleGAN2's regularisation of the discriminator at each 16th step: c = 16/17."""
    settings = ig.lazy_adam(16, lr=0.002, betas=(0.0, 0.99))
    assert settings["lr"] == pytest.approx(0.002 * 16 / 17)
    assert settings["betas"] == pytest.approx((0.0, 0.99 ** (16 / 17)))
    with pytest.raises(ValueError, match="every must be a whole number"):
        ig.lazy_adam(0, lr=0.1)


def test_the_arithmetic_of_terms() -> None:
    a, b = ig.GradientNorm(), ig.GradientNorm(p=1)
    assert [w.weight for w in (2 * (a + 3 * b)).weighted()] == [2, 6]
    assert (-(a / 4)).weight == -0.25
    assert [w.term for w in sum([a, 2 * b]).weighted()] == [a, b]
    assert ((lambda step: step) * (2 * a)).at_step(3) == 6
