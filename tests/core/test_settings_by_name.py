"""Settings under the names of other libraries and papers: the error says which one is meant, for every recipe, term, perturbation, head, place and engine."""

import dataclasses
import inspect
import pickle

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad import recipes

MEANT = [
    (lambda: ig.PGD(eps=0.1), "PGD has no setting 'eps': did you mean epsilon="),
    (lambda: ig.PGD(0.1, alpha=0.1), "did you mean step_size="),
    (lambda: ig.PGD(0.1, nb_iter=7), "did you mean steps="),
    (lambda: ig.FGSM(0.1, clip_min=0.0), "did you mean bounds="),
    (lambda: ig.VirtualAdversarial(eps=1.0), "did you mean epsilon="),
    (lambda: ig.Noise(std=0.1), "did you mean size="),
    (lambda: recipes.heat(alpha=0.1, names="xt"), "heat has no setting 'alpha': did you mean diffusivity="),
    (lambda: recipes.heat(k=0.1, names="xt"), "did you mean diffusivity="),
    (lambda: recipes.heat(0.1, "xt"), "heat takes weight first and the rest by name, such as diffusivity=…; got 2 settings without a name"),
    (lambda: recipes.burgers(nu=0.1, names="xt"), "did you mean viscosity="),
    (lambda: recipes.wave(c=2.0, names="xt"), "did you mean speed="),
    (lambda: recipes.condition(value=0.0, points=None), "did you mean at="),
    (lambda: recipes.wgan_gp(lambda_=10), "did you mean weight="),
    (lambda: recipes.wgan_gp(lambda_gp=10), "did you mean weight="),
    (lambda: recipes.trades(lam=6, epsilon=0.1), "did you mean beta="),
    (lambda: recipes.r1(weight=10), "did you mean gamma="),
    (lambda: recipes.pgd_adversarial(eps=0.1), "did you mean epsilon="),
    (lambda: recipes.lazy_r1(d_reg_every=16), "did you mean every="),
    (lambda: recipes.right_for_the_right_reasons(lambda_reg=10), "did you mean weight="),
    (lambda: recipes.energy_and_forces(force_weight=10), "did you mean forces_weight="),
    (lambda: recipes.no_arbitrage(K=0), "did you mean strike="),
    (lambda: recipes.heat(names="xt", every=4), r"write \(term\)\.scheduled\(every=…\)"),
    (lambda: ig.GradientNorm(lam=0.1), r"a factor before the term weighs it, such as 0\.1 \* term"),
    (lambda: ig.GradientNorm(ord=2), "did you mean p="),
    (lambda: ig.GradientNorm(sample_weight="w"), r"write \(term\)\.sample_weight\(…\)"),
    (lambda: ig.Given(x=torch.zeros(3, 2)), "did you mean other="),
    (lambda: ig.heads.OneOutput(i=2), "did you mean index="),
    (lambda: ig.engines.FiniteDifference(eps=1e-3), "did you mean step="),
    (lambda: ig.attributions.IntegratedGradients(n_steps=8), "did you mean steps="),
    (lambda: ig.InputGradientLoss(loss="mse"), "did you mean base="),
    (lambda: ig.field(None, None, coords="xt"), "field has no setting 'coords': did you mean inputs= or names="),
    (lambda: ig.gradient(None, None, head="label"), "gradient has no setting 'head': did you mean of="),
    (lambda: ig.gradient(None, None, "label", None, 0, 1), "gradient takes model, inputs, of, target, wrt first and the rest by name.*got 6"),
]


@pytest.mark.parametrize(("call", "told"), MEANT, ids=[told for _, told in MEANT])
def test_the_setting_that_is_meant(call, told):
    with pytest.raises(TypeError, match=told):
        call()


OWN = {name for room in (ig, ig.recipes, ig.attributions, ig.pictures) for name in room.__all__}
"""What is public, without what a room imports for itself."""


def public():
    """Every recipe, every class with settings, and every function that a room offers as its own."""
    rooms = (ig, ig.recipes, ig.heads, ig.places, ig.perturb, ig.attributions, ig.engines, ig.pictures)
    found = {f"{room.__name__}.{name}": getattr(room, name) for room in rooms for name in dir(room) if not name.startswith("_")}
    kinds = (ig.Term, ig.Perturbation, ig.Place, ig.heads.Head, ig.engines.Engine)
    return {
        name: value
        for name, value in found.items()
        if (inspect.isfunction(value) and value.__module__.startswith("inputgrad.") and name.rpartition(".")[2] in OWN)
        or (isinstance(value, type) and issubclass(value, kinds) and dataclasses.is_dataclass(value) and not inspect.isabstract(value))
    }


def test_every_one_says_its_settings():
    names = public()
    assert len(names) > 120
    for name, value in names.items():
        with pytest.raises(TypeError, match=rf"^{value.__name__} has no setting 'colour_of_it': .*Known: "):
            value(colour_of_it=1)
        assert inspect.signature(value).parameters.keys() == inspect.signature(inspect.unwrap(value)).parameters.keys(), name


def test_errors_from_inside_and_missing_settings_stay():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'epsilon'"):
        ig.FGSM()
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'epsilon'"):
        recipes.fast_adversarial()
    with pytest.raises(TypeError, match=r"wrt must be a position, a name"):
        ig.Residual(lambda u: u.value, "xt", wrt=1.5)


def test_recipes_stay_functions_that_can_be_read_and_sent():
    assert pickle.loads(pickle.dumps(recipes.heat)) is recipes.heat
    assert recipes.heat.__doc__.startswith("The heat equation")
    assert "names" in inspect.signature(recipes.heat).parameters
    assert next(iter(inspect.signature(ig.PGD).parameters)) == "epsilon"


def test_a_perturbation_of_a_model_as_it_stands():
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double(), torch.rand(5, 3, dtype=torch.float64), torch.tensor([0, 1, 0, 1, 1])
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(nn.functional.cross_entropy(model(z), y, reduction="sum"), z)
    torch.testing.assert_close(ig.FGSM(0.1)(model, x, y, base="cross_entropy"), x + 0.1 * g.sign(), rtol=0, atol=0)
    attacked = ig.PGD(0.1, steps=3)(model, x, y, base="cross_entropy")
    assert not attacked.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    clean, worst = (nn.functional.cross_entropy(model(points), y) for points in (x, attacked))
    assert worst > clean
    (g,) = torch.autograd.grad(model(z)[:, 1].sum(), z)
    torch.testing.assert_close(ig.FGSM(0.1, of=ig.heads.OneOutput(1), move="descend")(model, x), x - 0.1 * g.sign(), rtol=0, atol=0)
    with pytest.raises(TypeError, match=r'attack\(model, inputs, target, base="cross_entropy"\).*"cross_entropy" \+ ig\.Adversarial\(PGD'):
        ig.PGD(0.1)(model, x, y)
