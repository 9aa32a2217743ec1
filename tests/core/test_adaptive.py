"""Adaptive weights against the papers' formulas, transcribed in plain torch."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.adaptive import AdaptiveWeights, GradientAnnealing, GradNorm, ReLoBRaLo, UncertaintyWeights

PARTS = ["base", "first", "second"]


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def criterion() -> ig.InputGradientLoss:
    return nn.MSELoss() + 0.3 * ig.GradientNorm(power=2) + 0.2 * ig.Adversarial(ig.FGSM(0.1))


def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(12, 4, dtype=torch.float64), torch.randn(12, 2, dtype=torch.float64)


def textbook_losses(model: nn.Module) -> list[Tensor]:
    """Mean square error, mean of the squared gradient norm of the outputs' sum, mean square error at the sign's step."""
    x, y = data()
    x.requires_grad_()
    output = model(x)
    (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    own = (output - y).square().mean(1)
    (uphill,) = torch.autograd.grad(own.sum(), x, retain_graph=True)
    moved = (x + 0.1 * uphill.sign()).detach()
    return [own.mean(), gradient.square().sum(1).mean(), (model(moved) - y).square().mean()]


def test_gradnorm_is_algorithm_1_of_the_paper() -> None:
    """The paper differentiates L_grad in the weights through the norms' graphs and steps by Adam; here that is done, with a second derivative."""
    alpha, lr, rate = 1.5, 0.05, 0.1
    found, loss, weights = network(), criterion(), GradNorm(criterion(), alpha=alpha, lr=lr).double()
    book, w = network(), nn.Parameter(torch.ones(3, dtype=torch.float64))
    adam, first = torch.optim.Adam([w], lr), []
    for _ in range(6):
        found.zero_grad()
        weights(loss.losses(found, *data()), found[0].parameters()).backward()
        losses = textbook_losses(book)
        first = first or [value.detach() for value in losses]
        shared = list(book[0].parameters())
        norms = []
        for weight, value in zip(w, losses, strict=True):
            parts = torch.autograd.grad(weight * value, shared, create_graph=True)
            norms.append(torch.cat([part.flatten() for part in parts]).norm())
        ratios = torch.stack([value.detach() / start for value, start in zip(losses, first, strict=True)])
        wanted = (torch.stack(norms).mean() * (ratios / ratios.mean()) ** alpha).detach()
        (w.grad,) = torch.autograd.grad((torch.stack(norms) - wanted).abs().sum(), w)
        book.zero_grad()
        sum(weight.detach() * value for weight, value in zip(w, textbook_losses(book), strict=True)).backward()
        adam.step()
        w.data *= 3 / w.data.sum()
        for model in (found, book):
            for parameter in model.parameters():
                parameter.data -= rate * parameter.grad
        torch.testing.assert_close(weights.weights, w, rtol=1e-9, atol=0)
    for parameter, expected in zip(found.parameters(), book.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-9, atol=1e-12)
    assert (w - 1).abs().max() > 0.05  # they moved


@pytest.mark.parametrize(("lr", "smallest"), [(1e6, 1e-3), (1e6, 0.9), (0.6, 0.3), (0.6, 0.05)])
def test_gradnorm_holds_its_weights_above_the_smallest(lr: float, smallest: float) -> None:
    """After scaling too: a factor on all of them would take the smallest below its bound."""
    weights = GradNorm(PARTS, lr=lr, smallest=smallest)
    parameter = nn.Parameter(torch.ones(2))
    for _ in range(5):
        weights({name: parameter.sum() * factor for name, factor in zip(PARTS, (1, 50, 100), strict=True)}, [parameter])
        assert weights.weights.min() >= smallest
        assert weights.weights.sum().item() == pytest.approx(3)
    assert weights.weights.max() > 1 + 1e-3  # they moved


def test_gradnorm_takes_no_notice_of_a_common_factor() -> None:
    """Losses times 100 give the same weights."""

    def after(factor: float) -> list[float]:
        weights, parameter = GradNorm(["base", "term"]).double(), nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
        for step in range(20):
            losses = {"base": factor * parameter[0] / (1 + step), "term": factor * 3 * parameter.sum()}
            weights(losses, [parameter])
        return list(weights.by_name().values())

    assert after(100.0) == pytest.approx(after(1.0), rel=1e-6)
    assert abs(after(1.0)[0] - 1) > 0.03  # they moved


def test_annealing_is_that_of_the_authors_code() -> None:
    """λ ← 0.9 λ + 0.1 max|∇L_r| / mean|∇ λ L_i| over the weight matrices, the mean of the layers' means; at every second call here."""
    found, loss, weights = network(), criterion(), GradientAnnealing(criterion(), "gradient_norm", every=2).double()
    book, lam = network(), {"base": 1.0, "adversarial": 1.0}
    for step in range(5):
        used = weights.by_name()
        assert used == pytest.approx({"base": lam["base"], "gradient_norm": 1.0, "adversarial": lam["adversarial"]}, rel=1e-10)
        found.zero_grad()
        weights(loss.losses(found, *data()), [found[0].weight, found[2].weight]).backward()
        losses = dict(zip(("base", "gradient_norm", "adversarial"), textbook_losses(book), strict=True))
        matrices = [book[0].weight, book[2].weight]
        grads = {name: torch.autograd.grad(value, matrices, retain_graph=True) for name, value in losses.items()}
        book.zero_grad()
        (losses["gradient_norm"] + sum(lam[name] * losses[name] for name in lam)).backward()
        if step % 2 == 0:
            largest = max(part.abs().max().item() for part in grads["gradient_norm"])
            for name in lam:
                mean = sum(lam[name] * part.abs().mean().item() for part in grads[name]) / 2
                lam[name] = 0.9 * lam[name] + 0.1 * largest / mean
        for model in (found, book):
            for parameter in model.parameters():
                parameter.data -= 0.05 * parameter.grad
    for parameter, expected in zip(found.parameters(), book.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected, rtol=1e-9, atol=1e-12)
    assert lam["base"] != pytest.approx(1.0, rel=0.01)


def test_annealing_names_the_equation() -> None:
    with pytest.raises(ValueError, match=r"equation='pde' is not one of the parts \['base', 'first', 'second'\]"):
        GradientAnnealing(PARTS, "pde")
    with pytest.raises(ValueError, match="beta must lie in"):
        GradientAnnealing(PARTS, "base", beta=1.0)
    losses = {name: torch.ones((), requires_grad=True) for name in PARTS}
    with pytest.raises(ValueError, match="GradientAnnealing: shared holds no parameter"):
        GradientAnnealing(PARTS, "base")(losses, [])


@pytest.mark.parametrize("rho", [1.0, 0.0, 0.5])
def test_relobralo_is_that_of_the_paper(rho: float) -> None:
    alpha, temperature, generator = 0.9, 0.5, torch.Generator().manual_seed(3)
    weights = ReLoBRaLo(PARTS, alpha=alpha, temperature=temperature, rho=rho).double()
    history = torch.rand(8, 3, generator=generator, dtype=torch.float64) + 0.1
    torch.manual_seed(6)
    draws = torch.rand(8) < rho
    torch.manual_seed(6)
    expected = [1.0, 1.0, 1.0]

    def balanced(now: Tensor, before: Tensor) -> list[float]:
        exponentials = [math.exp(a / (temperature * b)) for a, b in zip(now.tolist(), before.tolist(), strict=True)]
        return [3 * value / sum(exponentials) for value in exponentials]

    for step, row in enumerate(history):
        leaves = row.clone().requires_grad_()
        total = weights(dict(zip(PARTS, leaves, strict=True)))
        since_first, since_last = balanced(row, history[0]), balanced(row, history[max(step - 1, 0)])
        kept = [e if draws[step] else b for e, b in zip(expected, since_first, strict=True)]
        expected = [alpha * k + (1 - alpha) * b for k, b in zip(kept, since_last, strict=True)]
        assert list(weights.by_name().values()) == pytest.approx(expected, rel=1e-9)
        assert total.item() == pytest.approx(sum(e * v for e, v in zip(expected, row.tolist(), strict=True)), rel=1e-9)
        assert torch.autograd.grad(total, leaves)[0].tolist() == pytest.approx(expected, rel=1e-9)  # the weights are constants


def test_uncertainty_weights_are_those_of_the_paper_and_find_their_optimum() -> None:
    weights = UncertaintyWeights(["base", "term"], classification=["base"]).double()
    losses = {"base": torch.tensor(0.7, dtype=torch.float64), "term": torch.tensor(0.02, dtype=torch.float64)}
    weights.log_variances.data = torch.tensor([0.4, -1.0], dtype=torch.float64)
    sigma = [math.exp(0.2), math.exp(-0.5)]
    expected = 0.7 / sigma[0] ** 2 + math.log(sigma[0]) + 0.02 / (2 * sigma[1] ** 2) + math.log(sigma[1])
    assert weights(losses).item() == pytest.approx(expected, rel=1e-12)
    optimizer = torch.optim.LBFGS(weights.parameters(), max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = weights(losses)
        total.backward()
        return total

    optimizer.step(closure)
    assert weights.log_variances.exp().tolist() == pytest.approx([2 * 0.7, 0.02], rel=1e-4)


def call(weights: AdaptiveWeights, losses: dict[str, Tensor], model: nn.Module) -> Tensor:
    return weights(losses, model[0].parameters()) if isinstance(weights, GradNorm) else weights(losses)


@pytest.mark.parametrize("kind", [GradNorm, ReLoBRaLo, UncertaintyWeights])
def test_they_train_on_every_engine_and_go_on_from_a_saved_state(kind: Any) -> None:
    def run(engine: str, steps: int, weights: AdaptiveWeights, model: nn.Module, optimizer: Any = None) -> Any:
        loss = ig.InputGradientLoss("mse", 0.3 * ig.GradientNorm(power=2), engine=engine)
        optimizer = optimizer or torch.optim.SGD([*model.parameters(), *weights.parameters()], 0.05)
        for step in range(steps):
            torch.manual_seed(step)
            optimizer.zero_grad()
            call(weights, loss.losses(model, *data()), model).backward()
            optimizer.step()
        return weights

    whole, model = kind(["base", "gradient_norm"]).double(), network()
    run("double_backward", 2, whole, model)
    again, twin = kind(["base", "gradient_norm"]).double(), copy.deepcopy(model)
    again.load_state_dict(whole.state_dict())
    copied = copy.deepcopy(whole)
    after = [run("double_backward", 3, item, copy.deepcopy(twin)).by_name() for item in (whole, again, copied)]
    assert after[0] == after[1] == after[2]
    others = [run(engine, 5, kind(["base", "gradient_norm"]).double(), network()).by_name() for engine in ("double_backward", "reverse_over_forward", "auto")]
    assert others[1] == pytest.approx(others[0], rel=1e-8)
    assert others[2] == pytest.approx(others[0], rel=1e-6)


@pytest.mark.parametrize("kind", [GradNorm, ReLoBRaLo])
def test_validation_does_not_move_them(kind: Any) -> None:
    weights, model = kind(criterion()).double(), network()
    for _ in range(2):
        call(weights, criterion().losses(model, *data()), model)
    before = copy.deepcopy(weights.state_dict())
    with torch.no_grad():
        total = call(weights, criterion().losses(model, *data()), model)
    call(weights.eval(), criterion().losses(model, *data()), model)
    assert not total.requires_grad
    assert all(torch.equal(before[name], value) for name, value in weights.state_dict().items())


def test_a_batch_that_overflows_does_not_spoil_the_weights() -> None:
    parameter = nn.Parameter(torch.ones(2))
    for weights in (GradNorm(PARTS), ReLoBRaLo(PARTS)):
        for factor in (1.0, math.inf, 0.5):
            losses = {name: parameter.square().sum() * factor for name in PARTS}
            call(weights, losses, nn.Sequential(nn.ParameterList([parameter])))
        assert all(math.isfinite(value) for value in weights.by_name().values())


def test_bad_settings_and_parts_are_clear_errors() -> None:
    with pytest.raises(ValueError, match=r"GradNorm weighs parts against each other, and got \['base'\]"):
        GradNorm(ig.InputGradientLoss("mse"))
    with pytest.raises(ValueError, match="GradNorm: lr must be above 0"):
        GradNorm(PARTS, lr=0)
    with pytest.raises(ValueError, match=r"ReLoBRaLo: alpha and rho must lie in \[0, 1\].*got alpha=2"):
        ReLoBRaLo(PARTS, alpha=2)
    with pytest.raises(ValueError, match="classification must be a list of names among"):
        UncertaintyWeights(PARTS, classification=["third"])
    weights, losses = GradNorm(PARTS), {name: torch.ones((), requires_grad=True) for name in PARTS}
    with pytest.raises(ValueError, match="shared holds no parameter that requires grad"):
        weights(losses, [])
    with pytest.raises(ValueError, match=r"was made for the parts .* and got \['base'\].*leave out scheduled"):
        weights({"base": losses["base"]}, [])


def test_the_names_are_those_of_the_criterion() -> None:
    assert ReLoBRaLo(criterion()).names == ("base", "gradient_norm", "adversarial")
    assert tuple(criterion().losses(network(), *data())) == ReLoBRaLo(criterion()).names
    terms = (ig.GradientNorm(), ig.GradientNorm(p=1))
    assert ReLoBRaLo(ig.InputGradientLoss(None, terms)).names == ("gradient_norm", "gradient_norm_2")
