"""What the rules of scale, mode and numerics measure, against the numbers by hand; and that the scaler and the modules are as before afterwards."""

import re

import pytest
import torch
from torch import nn

from inputgrad.audit.finding import Finding
from inputgrad.audit.probes.run_watcher import RunWatcher
from inputgrad.audit.rule_runner import run_rules


def found(model: nn.Module, x: torch.Tensor, penalty, gradient) -> list[Finding]:  # type: ignore[no-untyped-def]
    """The findings of two steps on the model's output and a penalty."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with RunWatcher(2) as watcher:
        for _ in range(2):
            given = x.clone().requires_grad_()
            output = model(given)
            loss = output.square().mean() + penalty(gradient(output, given))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return [item for item in run_rules(watcher.facts) if item.code[2] in "345"]


def numbers(finding: Finding) -> list[float]:
    return [float(value) for value in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?(?=[ ,%]|$)", finding.measured)]


def of_sum(output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(output.sum(), x, create_graph=True)[0]


def of_mean(output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(output.mean(), x, create_graph=True)[0]


def rows(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.flatten(1).norm(dim=1)


@pytest.fixture
def images() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(64, 1)), torch.randn(5, 3, 6, 6)


def test_mean_tells_the_norm_of_one_sample(images: tuple[nn.Module, torch.Tensor]) -> None:
    model, x = images
    (finding,) = found(model, x, lambda g: (rows(g) - 1).square().mean(), of_mean)
    given = x.clone().requires_grad_()
    own = rows(of_sum(model(given), given)).mean().item()
    assert finding.code == "IG301"
    assert numbers(finding)[:2] == pytest.approx([own / 5, own], rel=1e-2)


def test_whole_batch_and_channels_tell_both_norms(images: tuple[nn.Module, torch.Tensor]) -> None:
    model, x = images
    given = x.clone().requires_grad_()
    g = of_sum(model(given), given)
    (whole,) = found(model, x, lambda g: (g.norm() - 1).square(), of_sum)
    (channels,) = found(model, x, lambda g: (g.norm(2, dim=1) - 1).square().mean(), of_sum)
    assert (whole.code, channels.code) == ("IG302", "IG303")
    assert numbers(whole) == pytest.approx([g.norm().item(), rows(g).mean().item()], rel=1e-2)
    assert numbers(channels) == pytest.approx([g.norm(dim=1).mean().item(), rows(g).mean().item()], rel=1e-2)


@pytest.mark.parametrize(
    "norm",
    [
        lambda g: torch.norm(g, dim=1),
        lambda g: g.norm(2, 1),
        lambda g: torch.linalg.vector_norm(g, dim=-3),
        lambda g: (g**2).sum(1).sqrt(),
        lambda g: (g.square().sum(dim=1, keepdim=True) + 1e-12) ** 0.5,
    ],
)
def test_norm_over_channels_in_all_its_spellings(images: tuple[nn.Module, torch.Tensor], norm) -> None:  # type: ignore[no-untyped-def]
    assert [item.code for item in found(*images, lambda g: (norm(g) - 1).square().mean(), of_sum)] == ["IG303"]
    assert [item.code for item in found(*images, lambda g: norm(g).square().sum(), of_sum)] == []


def test_square_of_one_norm_is_the_sum_of_squares(images: tuple[nn.Module, torch.Tensor]) -> None:
    assert [item.code for item in found(*images, lambda g: g.norm(), of_sum)] == ["IG302"]
    assert found(*images, lambda g: g.norm() ** 2, of_sum) == []


@pytest.mark.parametrize("undone", [lambda g: g * 5, lambda g: -5.0 * g, lambda g: g / 0.2, lambda g: g * g.shape[0]])
def test_a_mean_that_is_undone_is_none(images: tuple[nn.Module, torch.Tensor], undone) -> None:  # type: ignore[no-untyped-def]
    assert found(*images, lambda g: rows(undone(g)).mean(), of_mean) == []
    assert [item.code for item in found(*images, lambda g: rows(3 * g).mean(), of_mean)] == ["IG301"]


def test_coupling_is_what_the_full_jacobian_says() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, 1)), torch.randn(6, 3)
    (finding,) = found(model, x, lambda g: rows(g).mean(), of_sum)
    first = torch.autograd.functional.jacobian(lambda value: model(value)[0, 0], x)
    assert finding.code == "IG401"
    assert numbers(finding)[0] / 100 == pytest.approx((first[1:].norm() / first.norm()).item(), abs=0.006)


def test_scaler_and_modes_are_as_before() -> None:
    names = [(torch.amp.GradScaler, "scale"), (torch.amp.GradScaler, "unscale_"), (nn.Module, "train")]
    before = [getattr(owner, name) for owner, name in names]
    model, loss = nn.Sequential(nn.Linear(2, 2), nn.Dropout()), torch.ones((), requires_grad=True)
    with RunWatcher(1):
        modes = [model.eval().training, model[1].training, model.train().training, model[1].training]
        scaled = torch.amp.GradScaler("cpu", init_scale=8.0).scale(loss)
        inside = [getattr(owner, name) for owner, name in names]
    assert modes == [False, False, True, True]
    assert scaled == 8
    assert not set(inside) & set(before)
    assert [getattr(owner, name) for owner, name in names] == before


def test_watching_dropout_draws_nothing() -> None:
    x = torch.ones(4, 6)
    torch.manual_seed(0)
    plain = [nn.functional.dropout(x), torch.rand(2)]
    torch.manual_seed(0)
    with RunWatcher(1):
        watched = [nn.functional.dropout(x), torch.rand(2)]
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))
