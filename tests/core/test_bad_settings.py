"""Bad settings: one clear error each when the object is made, told by its text."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad.engines.finite_difference import FiniteDifference
from inputgrad.terms import Weighted

X = torch.randn(4, 5)


def model() -> nn.Module:
    return nn.Linear(5, 3)


MAKING: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "base": (lambda: ig.InputGradientLoss("mes"), ValueError, "base='mes' is not a known loss; did you mean 'mse'\\?"),
    "base of another kind": (lambda: ig.InputGradientLoss(3), TypeError, "base must be a name, a callable.*got int"),
    "nothing at all": (lambda: ig.InputGradientLoss(None), ValueError, "needs a base loss, terms, or both; got neither"),
    "engine": (
        lambda: ig.InputGradientLoss("mse", engine="double_backwards"),
        ValueError, "engine='double_backwards' is not an engine; did you mean 'double_backward'\\?"
    ),
    "output": (lambda: ig.InputGradientLoss("mse", output=1.5), TypeError, "output must be a key, or a callable.*got float"),
    "term": (lambda: ig.InputGradientLoss("mse", [lambda batch: 1]), TypeError, "terms must be terms or weighted terms.*@inputgrad.term"),
    "weight": (lambda: Weighted(ig.GradientNorm(), "heavy"), TypeError, "weight of gradient_norm must be a number or a callable.*'heavy'"),
    "weight of a function": (lambda: Weighted(lambda batch: 1, 2.0), TypeError, "a weight multiplies a term, got function"),
    "weight as text": (lambda: "heavy" * ig.GradientNorm(), TypeError, "a weight is a number or a callable of the step number, got str"),
    "loss as base": (lambda: ig.InputGradientLoss("mse" + 0.1 * ig.GradientNorm()), TypeError, "base is a loss with terms already"),
    "per": (lambda: ig.term(per="bach"), ValueError, "per='bach': did you mean 'batch'\\?"),
    "term of no function": (lambda: ig.term(3), TypeError, "decorates a function of the batch, got 3"),
    "p": (lambda: ig.GradientNorm(p=0.5), ValueError, "p must be at least 1.*got 0.5"),
    "p of nan": (lambda: ig.GradientNorm(p=math.nan), ValueError, "p must be at least 1"),
    "power": (lambda: ig.GradientNorm(power=0.5), ValueError, "power must be at least 1 and finite, got 0.5"),
    "center": (lambda: ig.GradientNorm(center=-1), ValueError, "center must be a norm, at least 0 and finite, got -1"),
    "zero direction": (lambda: ig.DirectionMatch(torch.zeros(3)), ValueError, "direction is zero everywhere"),
    "direction of another kind": (lambda: ig.DirectionMatch([1, 0]), TypeError, "direction must be a tensor or a callable of the batch, got list"),
    "epsilon": (lambda: ig.FGSM(-0.1), ValueError, 'epsilon must be at least 0 and finite, got -0.1.*move="descend"'),
    "epsilon of nan": (lambda: ig.FGSM(math.nan), ValueError, "epsilon must be at least 0"),
    "move": (lambda: ig.FGSM(0.1, move="up"), ValueError, "move='up': .*'ascend', 'descend'"),
    "bounds": (lambda: ig.FGSM(0.1, bounds=(1, 0)), ValueError, r"bounds must be \(low, high\) with low < high, or None; got \(1, 0\)"),
    "bounds of one": (lambda: ig.FGSM(0.1, bounds=(1,)), ValueError, "bounds must be"),
    "rows": (lambda: ig.heads.RandomProjection(0), ValueError, "n must be at least 1, got 0"),
    "scheme": (lambda: FiniteDifference(scheme="onesided"), ValueError, "did you mean 'one_sided'\\?"),
    "step": (lambda: FiniteDifference(step=2.0), ValueError, "step must be a fraction"),
    "steps": (lambda: ig.follow_gradient(model(), X, steps=0), ValueError, "steps must be a whole number, at least 1; got 0"),
    "step size": (lambda: ig.follow_gradient(model(), X, step_size=-1.0), ValueError, 'step_size must be positive and finite, got -1.0.*move="descend"'),
    "path's move": (lambda: ig.follow_gradient(model(), X, move="ascent"), ValueError, "move='ascent': did you mean 'ascend'\\?"),
    "scaling": (lambda: ig.follow_gradient(model(), X, scaling="sing"), ValueError, "scaling='sing': did you mean 'sign'\\?"),
    "path's bounds": (lambda: ig.follow_gradient(model(), X, bounds=(2, 1)), ValueError, "bounds must be"),
    "path of a module": (lambda: ig.follow_gradient(model(), X, wrt="module:0"), ValueError, "follow_gradient moves inputs"),
    "path of the loss": (lambda: ig.follow_gradient(model(), X, of="loss"), ValueError, 'of="loss" needs a base loss'),
    "path of a function": (lambda: ig.follow_gradient(torch.tanh, X), TypeError, "model must be an nn.Module"),
    "gradient of the loss": (lambda: ig.output_and_gradient(model(), X, of="loss"), ValueError, 'of="loss" needs a base loss'),
    "gradient of a function": (lambda: ig.output_and_gradient(torch.tanh, X), TypeError, "model must be an nn.Module"),
}  # fmt: skip


@pytest.mark.parametrize("name", MAKING)
def test_a_bad_setting_is_one_clear_error(name: str) -> None:
    make, kind, text = MAKING[name]
    with pytest.raises(kind, match=text):
        make()
