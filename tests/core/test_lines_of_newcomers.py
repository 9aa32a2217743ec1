"""What newcomers write first, and the line or the number that they get."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import inputgrad as ig

MODEL, X, Y = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)), torch.rand(5, 2), torch.rand(5, 1)
TERM = ig.GradientNorm()


@pytest.mark.parametrize("term", [TERM, 0.1 * TERM, TERM + 0.2 * ig.GradientNorm(power=2)])
def test_a_term_added_to_the_value_of_a_loss(term: Any) -> None:
    for add in (lambda: F.mse_loss(MODEL(X), Y) + term, lambda: term + F.mse_loss(MODEL(X), Y), lambda: F.mse_loss(MODEL(X), Y) - term):
        with pytest.raises(TypeError, match=r"criterion = nn.MSELoss\(\) \+ 0.1 \* term once.*criterion\(model, inputs, target\)"):
            add()


@pytest.mark.parametrize("weighed", [lambda base: 0.7 * base, lambda base: base * 0.7])
def test_the_weight_of_a_base_loss(weighed: Any) -> None:
    criterion = weighed(ig.OnTarget("y", nn.MSELoss())) + 0.1 * TERM
    step = criterion.evaluate(MODEL, X, {"y": Y})
    torch.testing.assert_close(step.loss.detach(), 0.7 * F.mse_loss(MODEL(X), Y).detach() + 0.1 * step.parts["gradient_norm"])


def test_the_gradient_of_the_loss() -> None:
    for settings in ({"of": "loss"}, {"base": "cross_entropy"}):
        with pytest.raises((TypeError, ValueError), match=r"of=lambda output, target: F.cross_entropy\(output, target, reduction='none'\)"):
            ig.gradient(MODEL, X, target=Y, **settings)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize(("written", "match"), [("S sigma", r"d\('S', 'sigma'\)"), ("S,sigma", r"d\('S', 'sigma'\)"), ("S_S", r"d\('S', 'S'\)")])
def test_derivatives_named_with_a_space(written: str, match: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {match}\\?"):
        ig.field(MODEL, X, names=("S", "sigma")).d(written)


ATTACKS = [ig.FGSM, ig.PGD, ig.Noise, ig.perturb.PersistentPerturbation]


@pytest.mark.parametrize("attack", ATTACKS)
def test_bounds_that_the_data_leave(attack: Any) -> None:
    made = attack(0.1, bounds=(0, 1))
    criterion = ig.InputGradientLoss("mse", ig.Adversarial(made))
    with pytest.warns(UserWarning, match=r"bounds=\(0, 1\) and the input lies between -?\d.* and 3.*bounds=None"):
        criterion(MODEL, torch.tensor([[-2.0, 3.0], [0.0, 1.0]]), torch.zeros(2, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        criterion(MODEL, torch.tensor([[-2.0, 3.0], [0.0, 1.0]]), torch.zeros(2, 1))
        ig.InputGradientLoss("mse", ig.Adversarial(attack(0.1, bounds=(0, 1))))(MODEL, X, Y)


def test_a_criterion_shows_a_base_loss_that_is_no_module() -> None:
    def own(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output - target).abs().mean()

    assert "own + 1 * GradientNorm" in repr(ig.InputGradientLoss(own, ig.GradientNorm()))
    assert "OnTarget(key='y', base=MSELoss()" in repr(ig.InputGradientLoss(ig.OnTarget("y"), ig.GradientNorm()))
    assert "own" not in repr(nn.MSELoss() + ig.GradientNorm())


def test_a_penalty_that_is_not_due_is_shown_as_zero() -> None:
    criterion = ig.InputGradientLoss(None, ig.recipes.lazy_r1(every=4))
    critic, x = nn.Sequential(nn.Linear(2, 1)), torch.rand(3, 2)
    nn.init.constant_(critic[0].bias, -9.0)  # type: ignore[arg-type]  # a tensor
    assert [str(criterion(critic, x).item()) for _ in range(3)][1:] == ["0.0", "0.0"]
