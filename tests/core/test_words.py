"""Names, weights per sample, given places of several inputs, sums and multiples of losses, an engine set later: against plain torch in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig

STEPS = 3
"""From the second step on simple steps take another way."""


def network(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


def data(size: int = 6, outputs: int = 1) -> Any:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(size, width, generator=generator, dtype=torch.float64) for width in (4, outputs))


def squares(model: nn.Module, x: Tensor) -> Tensor:
    """‖∂Σf/∂x‖² per sample, with its graph."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(model(x).sum(), x, create_graph=True)[0].square().sum(1)


def gradient_of(loss: Tensor, model: nn.Module) -> Tensor:
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True)]
    )


def check(criterion: Any, expected: Tensor, model: nn.Module, inputs: Any, target: Any) -> None:
    """Value and parameter gradient, at each of several steps."""
    wanted = gradient_of(expected, model)
    for step in range(STEPS):
        loss = criterion(model, inputs, target)
        torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-10, atol=1e-12, msg=lambda text, step=step: f"step {step}: {text}")
        torch.testing.assert_close(gradient_of(loss, model), wanted, rtol=1e-9, atol=1e-11)


def test_a_name_is_what_the_part_is_called() -> None:
    model, (x, y) = network(), data()
    inner, outer = ig.GradientNorm(power=2), 0.1 * ig.GradientNorm(power=2, at=ig.Given(x + 1)).named("boundary")
    criterion = nn.MSELoss() + 0.2 * inner + 2 * outer
    check(criterion, F.mse_loss(model(x), y) + 0.2 * squares(model, x).mean() + 0.2 * squares(model, x + 1).mean(), model, x, y)
    assert list(criterion.losses(model, x, y)) == ["base", "gradient_norm", "boundary"]
    assert list(criterion.evaluate(model, x, y).parts) == ["base", "gradient_norm", "boundary"]
    assert list((nn.MSELoss() + inner.named("a") + inner).evaluate(model, x, y).parts) == ["base", "a", "gradient_norm"]
    assert list((nn.MSELoss() + inner + inner.named("gradient_norm")).evaluate(model, x, y).parts) == ["base", "gradient_norm_2", "gradient_norm"]


def test_equal_names_and_names_of_sums_are_errors() -> None:
    term = ig.GradientNorm()
    with pytest.raises(ValueError, match="two terms are named 'a'"):
        nn.MSELoss() + term.named("a") + 0.1 * term.named("a")
    for base in (None, "mse"):
        with pytest.raises(ValueError, match="two terms are named 'a'"):
            ig.InputGradientLoss(base, term.named("a") + 0.1 * term.named("a"))
    with pytest.raises(ValueError, match='not "base"'):
        term.named("base")
    with pytest.raises(TypeError, match="said of one term, and this is a sum of 2"):
        (term + term).named("a")


def test_the_state_of_named_terms_comes_back() -> None:
    criterion = ig.InputGradientLoss("mse", (0.1 * ig.PathLength()).named("paths"))
    other = ig.InputGradientLoss("mse", (0.1 * ig.PathLength()).named("paths"))
    model, (x, y) = network(2).float(), (torch.randn(4, 4), torch.randn(4, 2))
    criterion(model, x, y)
    other.load_state_dict(criterion.state_dict())
    assert other.get_extra_state() == criterion.get_extra_state() or set(other.get_extra_state()["terms"]) == {"paths"}


@pytest.mark.parametrize("weights", ["w", lambda batch: batch.target["w"]])
def test_weights_per_sample(weights: Any) -> None:
    model, (x, y) = network(), data()
    target = {"y": y, "w": torch.tensor([0.0, 1.0, 2.0, 0.5, 0.0, 3.0], dtype=torch.float64)}
    criterion = ig.OnTarget("y", nn.MSELoss()) + 0.3 * ig.GradientNorm(power=2).sample_weight(weights)
    check(criterion, F.mse_loss(model(x), y) + 0.3 * (target["w"] * squares(model, x)).mean(), model, x, target)
    twice = ig.OnTarget("y", nn.MSELoss()) + 0.3 * ig.GradientNorm(power=2).sample_weight(weights).sample_weight(lambda batch: batch.target["w"])
    check(twice, F.mse_loss(model(x), y) + 0.3 * (target["w"].square() * squares(model, x)).mean(), model, x, target)
    half = ig.OnTarget("y", nn.MSELoss()) + (0.3 * ig.GradientNorm(power=2)).sample_weight(weights).scheduled(fraction=0.5)
    torch.manual_seed(0)
    loss = half(model, x, target)
    torch.manual_seed(0)
    rows = torch.randperm(6)[:3]
    expected = F.mse_loss(model(x), y) + 0.3 * (target["w"][rows] * squares(model, x[rows])).mean()
    torch.testing.assert_close(loss.detach(), expected.detach())


def test_weights_per_sample_change_with_the_criterion() -> None:
    """Two criteria of the same term on one model: a known form of step must not serve the other's weights."""
    model, (x, y) = network(), data()
    term = ig.GradientNorm(power=2)
    plain, weighted = nn.MSELoss() + term, nn.MSELoss() + term.sample_weight(lambda batch: torch.arange(6.0, dtype=torch.float64))
    for _ in range(STEPS):
        torch.testing.assert_close(plain(model, x, y).detach(), (F.mse_loss(model(x), y) + squares(model, x).mean()).detach())
        expected = F.mse_loss(model(x), y) + (torch.arange(6.0, dtype=torch.float64) * squares(model, x)).mean()
        torch.testing.assert_close(weighted(model, x, y).detach(), expected.detach())


def test_weights_per_sample_that_are_none() -> None:
    model, (x, y) = network(), data()
    with pytest.raises(TypeError, match=r"term\.sample_weight\('w'\)"):
        torch.ones(6) * ig.GradientNorm()
    with pytest.raises(TypeError, match=r"must be a name or a position of the target.*a tensor of shape"):
        ig.GradientNorm().sample_weight(torch.ones(6))
    with pytest.raises(ValueError, match=r"must be one weight per sample, \[6\]; got \[5\]"):
        (nn.MSELoss() + ig.GradientNorm().sample_weight(lambda _: torch.ones(5)))(model, x, y)
    with pytest.raises(ValueError, match="no number per sample"):
        ig.term(per="batch")(lambda batch: batch.gradient().mean()).sample_weight("w")


class Plane(nn.Module):
    """u(x, t), two inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat((x, t), 1))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("size", [6, 4])
def test_given_places_of_several_inputs(named: bool, size: int) -> None:
    model = Plane().double()
    generator = torch.Generator().manual_seed(1)
    x, t = (torch.randn(6, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    xb, tb = (torch.randn(size, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    y, yb = torch.arange(6) % 3, torch.arange(size) % 3
    place = ig.Given({"x": xb, "t": tb} if named else (xb, tb), target=yb)
    inputs = {"x": x, "t": t} if named else (x, t)
    criterion = nn.CrossEntropyLoss() + 0.3 * ig.GradientNorm(of="label", wrt=("t",) if named else (1,), at=place, power=2)
    there = tb.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(xb, there).gather(1, yb[:, None]).sum(), there, create_graph=True)
    check(criterion, F.cross_entropy(model(x, t), y) + 0.3 * g.square().sum(1).mean(), model, inputs, y)
    of_loss = nn.CrossEntropyLoss() + 0.3 * ig.GradientNorm(of="loss", wrt=("t",) if named else (1,), at=place, power=2)
    (g,) = torch.autograd.grad(F.cross_entropy(model(xb, there), yb, reduction="sum"), there, create_graph=True)
    check(of_loss, F.cross_entropy(model(x, t), y) + 0.3 * g.square().sum(1).mean(), model, inputs, y)


def test_errors_of_given_places_show_shapes_and_no_numbers() -> None:
    model, x = Plane(), torch.full((6, 1), 0.123)
    inputs, y = (x, x), torch.zeros(6, 3)
    for place, match in {
        ig.Given((x, torch.full((6, 2), 0.123))): r"other\[1\].*\[6, 1\]; got a tensor of shape \[6, 2\]",
        ig.Given((x[:3], x)): r"same number of samples; got 0: \[3, 1\], 1: \[6, 1\]",
        ig.Given(x[:3]): r"3 samples for \[0\].*1: \[6, 1\].*in a tuple or dict",
    }.items():
        with pytest.raises(ValueError, match=match) as raised:
            (nn.MSELoss() + ig.GradientNorm(at=place))(model, inputs, y)
        assert "0.123" not in str(raised.value)
    assert repr(ig.Given((x, x))) == "Given((<[6, 1] of torch.float32>, <[6, 1] of torch.float32>))"
    with pytest.raises(TypeError, match="a callable of the batch; got float"):
        ig.Given((x, 0.5))
    with pytest.raises(TypeError, match="leave it out"):
        ig.Given((x, x), wrt=2)


def test_sums_and_multiples_of_losses() -> None:
    model, (x, y) = network(), data()
    norm = ig.GradientNorm(power=2)
    criterion = nn.MSELoss() + 0.3 * norm
    mse, slope = F.mse_loss(model(x), y), squares(model, x).mean()
    l1 = F.l1_loss(model(x), y)
    check(2 * criterion, 2 * mse + 0.6 * slope, model, x, y)
    check(criterion / 4, mse / 4 + 0.075 * slope, model, x, y)
    check(0.5 * ig.InputGradientLoss("mse") + 0.1 * norm, 0.5 * mse + 0.1 * slope, model, x, y)
    check(criterion + ig.InputGradientLoss(None, 0.1 * norm), mse + 0.4 * slope, model, x, y)
    check(criterion + criterion, 2 * mse + 0.6 * slope, model, x, y)
    check(2 * criterion + (nn.L1Loss() + 0.1 * norm) / 2, 2 * mse + 0.65 * slope + 0.5 * l1, model, x, y)
    check(nn.L1Loss() + criterion, l1 + mse + 0.3 * slope, model, x, y)
    check(sum([criterion, 3 * criterion]), 4 * mse + 1.2 * slope, model, x, y)
    step = (2 * criterion).evaluate(model, x, y)
    torch.testing.assert_close(step.parts["base"], mse.detach())  # parts are without their weights
    with pytest.raises(TypeError):
        criterion * torch.ones(3)
    with pytest.raises(ValueError, match="take different outputs"):
        criterion + ig.InputGradientLoss("mse", output="energy")


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward"])
def test_of_loss_is_of_the_terms_own_base_loss_in_a_sum(engine: str) -> None:
    model, (x, y) = network(), data()

    def norm_of(loss: Any) -> Tensor:
        z = x.clone().requires_grad_()
        return torch.autograd.grad(loss(model(z)).sum(), z, create_graph=True)[0].square().sum(1).mean()

    term = ig.GradientNorm(of="loss", power=2)
    criterion = ig.InputGradientLoss("mse", 0.3 * term, engine=engine) + 2 * ig.InputGradientLoss("smooth_l1", 0.2 * term)
    expected = F.mse_loss(model(x), y) + 2 * F.smooth_l1_loss(model(x), y)
    expected = expected + 0.3 * norm_of(lambda f: (f - y).square()) + 0.4 * norm_of(lambda f: F.smooth_l1_loss(f, y, reduction="none"))
    check(criterion, expected, model, x, y)
    attack = (nn.MSELoss() + ig.Adversarial(ig.FGSM(0.1))) + nn.L1Loss()
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(F.mse_loss(model(z), y), z)
    check(attack, F.mse_loss(model(x), y) + F.l1_loss(model(x), y) + F.mse_loss(model(x + 0.1 * g.sign()), y), model, x, y)


def test_an_engine_set_later() -> None:
    model, (x, y) = network(), data()
    criterion = nn.MSELoss() + 0.3 * ig.GradientNorm(power=2)
    expected = F.mse_loss(model(x), y) + 0.3 * squares(model, x).mean()
    for engine in ("double_backward", "reverse_over_forward", ig.engines.DoubleBackward(own_derivatives=False)):
        criterion.engine = engine
        check(criterion, expected, model, x, y)
    assert criterion.engine == ig.engines.DoubleBackward(own_derivatives=False)
    with pytest.raises(ValueError, match="double_backward"):
        criterion.engine = "double_backwards"
    assert criterion.engine == ig.engines.DoubleBackward(own_derivatives=False)
