"""Residuals of differential equations, their gradients, conditions, and the Hessian penalty: against their papers.

The references take derivatives by functorch (`torch.func.hessian` under `vmap`), the library by nested reverse passes.
"""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, hessian, vmap

import inputgrad as ig
from inputgrad.operators.fields import Field
from inputgrad.operators.functions import field
from inputgrad.recipes import generators
from inputgrad.recipes import physics_informed as recipes
from inputgrad.terms.hessian_penalty import HessianPenalty
from inputgrad.terms.residual import Residual, ResidualGradient
from tests import zoo
from tests.catalogue.harness import CLASSIFIERS, SCALARS, Entry, cases, check, prices
from tests.textbook import distance, parameter_gradients
from tests.traced import BACKEND

NAMES = "abcdt"
BOUNDARY = torch.linspace(-1, 1, 4 * zoo.FEATURES, dtype=torch.float64).reshape(4, zoo.FEATURES).sin()
"""Points of a condition: another number than the batch's."""


def single(model: nn.Module, output: int = 0) -> Callable[[Tensor], Tensor]:
    return lambda row: model(row[None])[0, output]


def first(model: nn.Module, x: Tensor, output: int = 0) -> Tensor:
    return vmap(grad(single(model, output)))(x)


def second(model: nn.Module, x: Tensor, output: int = 0) -> Tensor:
    return vmap(hessian(single(model, output)))(x)


def laplacian_of_space(H: Tensor) -> Tensor:  # noqa: N803
    return H[:, 0, 0] + H[:, 1, 1] + H[:, 2, 2] + H[:, 3, 3]


def poisson(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """−Δu = f with f = cos a."""
    H = second(model, x)  # noqa: N806
    return ((-(laplacian_of_space(H) + H[:, 4, 4]) - x[:, 0].cos()) ** 2).mean()


def poisson_in_a_medium(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """−∇·(k ∇u) = 1 with k = 1 + u²: −k Δu − 2u |∇u|²."""
    u, g, H = model(x)[:, 0], first(model, x), second(model, x)  # noqa: N806
    return ((-(1 + u**2) * H.diagonal(dim1=1, dim2=2).sum(1) - 2 * u * (g**2).sum(1) - 1) ** 2).mean()


def heat(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    return 3.0 * ((first(model, x)[:, 4] - 0.3 * laplacian_of_space(second(model, x)) - x[:, 1]) ** 2).mean()


def wave(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    H = second(model, x)  # noqa: N806
    return ((H[:, 4, 4] - 2.0**2 * laplacian_of_space(H)) ** 2).mean()


def burgers_residual(model: nn.Module, row: Tensor) -> Tensor:
    u = single(model)
    g = grad(u)(row)
    return g[4] + u(row) * g[0] - 0.1 * grad(lambda inner: grad(u)(inner)[0])(row)[0]


def burgers(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    return (vmap(lambda row: burgers_residual(model, row))(x) ** 2).mean()


def enhanced_burgers(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Yu et al. 2022, section 2.2: w_f mean f² + Σ_i w_gi mean (∂f/∂x_i)², every coordinate."""
    slopes = vmap(grad(lambda row: burgers_residual(model, row)))(x)
    return 2.0 * (burgers(model, x, y) + 0.01 * sum((slopes[:, i] ** 2).mean() for i in range(5)))


def conditions(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """u = 0.5 at the boundary, ∂u/∂t = b there."""
    return 2 * ((model(BOUNDARY)[:, 0] - 0.5) ** 2).mean() + ((first(model, BOUNDARY)[:, 4] - BOUNDARY[:, 1]) ** 2).mean()


def interior(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """The batch holds the data; the equation, of first order, is taken at other points."""
    g = first(model, BOUNDARY)
    return ((g[:, 4] + 0.7 * g[:, 0] - model(BOUNDARY)[:, 0]) ** 2).mean()


def transport(u: Field) -> Tensor:
    return u.d("t") + 0.7 * u.d("a") - u.value


def system(u: Field) -> tuple[Tensor, Tensor]:
    p, q, r = u
    return p.d("ab") - q.value * r.d("t"), q.laplacian("a", "b") + p.d("t") ** 2


def system_residuals(model: nn.Module, x: Tensor) -> list[Tensor]:
    H = [second(model, x, output) for output in range(2)]  # noqa: N806
    return [
        H[0][:, 0, 1] - model(x)[:, 1] * first(model, x, 2)[:, 4],
        H[1][:, 0, 0] + H[1][:, 1, 1] + first(model, x, 0)[:, 4] ** 2,
    ]


def mean_of_equations(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    r = system_residuals(model, x)
    return ((r[0] ** 2 + r[1] ** 2) / 2).mean()


def slopes_of_equations(model: nn.Module, x: Tensor, y: Any) -> Tensor:
    """Along t alone: (∂r/∂t)², by differentiating the residual of one row."""
    total = x.new_zeros(())
    for which in range(2):
        slopes = vmap(grad(lambda row, which=which: system_residuals(model, row[None])[which][0]))(x)
        total = total + (slopes[:, 4] ** 2).mean() / 2
    return total


def second_differences(model: nn.Module, z: Tensor, k: int, epsilon: float) -> Tensor:
    """Peebles et al. 2020: the unbiased variance over k draws of v ∈ {−1, 1}^D, ``[N, C]``."""
    v = torch.randint(0, 2, (k, *z.shape), dtype=z.dtype) * 2 - 1
    found = [(model(z + epsilon * v[i]) - 2 * model(z) + model(z - epsilon * v[i])) / epsilon**2 for i in range(k)]
    center = sum(found) / k
    return (sum((part - center) ** 2 for part in found) / (k - 1)).reshape(len(z), -1)


def hessian_penalty(model: nn.Module, z: Tensor, y: Any) -> Tensor:
    return 0.1 * second_differences(model, z, 2, 0.1).max()


def hessian_penalty_of_layers(model: Any, z: Tensor, y: Any) -> Tensor:
    """The sum over layers of their penalties, on the same v."""
    total, state = z.new_zeros(()), torch.get_rng_state()
    for depth in (2, 4):
        torch.set_rng_state(state)
        total = total + second_differences(model[:depth], z, 2, 0.1).max()
    return total


SMOOTH = ("scalar",)
DIFFERENCED = ("smooth", "group_norm", "batch_norm", "attention", "relu")
ENTRIES = (
    Entry("poisson", lambda: recipes.poisson(source=lambda u: u.coordinate("a").cos(), names=NAMES), poisson, models=SMOOTH),
    Entry(
        "poisson",
        lambda: recipes.poisson(source=1.0, names=NAMES, conductivity=lambda u: 1 + u.value**2),
        poisson_in_a_medium,
        models=SMOOTH,
        base="mse",
        target=prices,
    ),
    Entry("heat", lambda: recipes.heat(3.0, diffusivity=0.3, source=lambda u: u.coordinate("b"), names=NAMES), heat, models=SMOOTH),
    Entry("wave", lambda: recipes.wave(speed=2.0, names=NAMES), wave, models=SMOOTH),
    Entry("burgers", lambda: recipes.burgers(viscosity=0.1, space="a", names=NAMES), burgers, models=SMOOTH, base="mse", target=prices),
    Entry(
        "gradient_enhanced",
        lambda: recipes.gradient_enhanced(residual=recipes.burgers(2.0, viscosity=0.1, space="a", names=NAMES)),
        enhanced_burgers,
        models=SMOOTH,
    ),
    Entry(
        "condition",
        lambda: (
            recipes.condition(2, value=0.5, at=ig.Given(BOUNDARY), names=NAMES)
            + recipes.condition(value=lambda u: u.coordinate("b"), derivative="t", at=ig.Given(BOUNDARY), names=NAMES)
        ),
        conditions,
        models=SCALARS,
        base="mse",
        target=prices,
    ),
    Entry("residual", lambda: Residual(transport, NAMES, at=ig.Given(BOUNDARY)), interior, models=SCALARS, base="mse", target=prices),
    Entry("residual", lambda: Residual(system, NAMES), mean_of_equations, models=("smooth",), base="cross_entropy"),
    Entry("residual_gradient", lambda: ResidualGradient(system, NAMES, along="t"), slopes_of_equations, models=("smooth",)),
    Entry("hessian_penalty", lambda: generators.hessian_penalty(), hessian_penalty, models=DIFFERENCED, base="cross_entropy"),
    Entry("hessian_penalty", lambda: HessianPenalty(layers=("1", "3")), hessian_penalty_of_layers, models=("smooth",)),
    Entry(
        "hessian_penalty", lambda: HessianPenalty(3, 0.3, "mean"), lambda m, z, y: second_differences(m, z, 3, 0.3).mean(1).mean(), models=("smooth", "relu")
    ),
    Entry(
        "hessian_penalty", lambda: HessianPenalty(reduction="max_of_outputs"), lambda m, z, y: second_differences(m, z, 2, 0.1).amax(1).mean(), models=SMOOTH
    ),
)
assert set(DIFFERENCED) <= set(CLASSIFIERS)


def quick() -> list[Any]:
    """Every case, but for compiled ones of the same make: no term here asks the engine for anything, and tracing derivatives of order three takes long."""
    compiled = {entry.name: entry for entry in reversed(ENTRIES) if entry.name in ("burgers", "condition", "hessian_penalty")}
    return [case for case in cases(ENTRIES) if case.values[2] != "compiled" or case.values[0] is compiled.get(case.values[0].name)]


@pytest.mark.parametrize(("entry", "model", "engine"), quick())
def test_value_and_gradient_are_the_papers(entry: Entry, model: str, engine: str) -> None:
    check(entry, model, engine)


# solutions on paper


class Solution(nn.Module):
    """A formula of columns (x, t), with a parameter so that it is a model."""

    def __init__(self, formula: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, z: Tensor) -> Tensor:
        return self.scale * self.formula(z[:, :1], z[:, 1:])


def points(n: int = 9) -> Tensor:
    return torch.rand(n, 2, dtype=torch.float64) + 0.1


def value(term: Any, model: nn.Module, z: Any, target: Any = None) -> float:
    return ig.InputGradientLoss(None, term)(model, z, target).item()


SOLVED: dict[str, tuple[Any, Any, Callable[[Tensor, Tensor], Tensor]]] = {
    "poisson": (
        recipes.poisson(source=lambda u: 5 * torch.sin(u.coordinate("x")) * torch.cos(2 * u.coordinate("t")), names="xt"),
        recipes.poisson(source=lambda u: -5 * torch.sin(u.coordinate("x")) * torch.cos(2 * u.coordinate("t")), names="xt"),
        lambda x, t: torch.sin(x) * torch.cos(2 * t),
    ),
    "heat": (recipes.heat(diffusivity=0.2, names="xt"), recipes.heat(diffusivity=-0.2, names="xt"), lambda x, t: torch.exp(-0.2 * 9 * t) * torch.sin(3 * x)),
    "wave": (recipes.wave(speed=2.0, names="xt"), recipes.wave(speed=2.0, time="x", names="xt"), lambda x, t: torch.sin(x - 2 * t) + (x + 2 * t) ** 3),
    "burgers": (
        recipes.burgers(viscosity=0.1, names="xt"),
        recipes.burgers(viscosity=-0.1, names="xt"),
        lambda x, t: 1 - 0.5 * torch.tanh((x - t) * 0.5 / 0.2),
    ),
}
"""Equation -> the recipe, one with a wrong sign, and a solution in closed form."""


@pytest.mark.parametrize("equation", SOLVED)
def test_a_solution_has_no_residual_and_a_wrong_sign_is_seen(equation: str) -> None:
    right, wrong, formula = SOLVED[equation]
    model, z = Solution(formula), points()
    assert value(right, model, z) < 1e-20
    assert value(recipes.gradient_enhanced(1.0, residual=right), model, z) < 1e-18
    assert value(wrong, model, z) > 1e-2


def test_the_canary_a_gradient_of_the_square_is_not_the_papers() -> None:
    """∂r/∂x, not ∂r²/∂x: at r = 2x + t the enhanced part is 4 + 1 whatever x is."""
    model = Solution(lambda x, t: x**2 + t * x)
    term = ResidualGradient(lambda u: u.d("x"), "xt")
    assert math.isclose(value(term, model, points()), 5.0, rel_tol=1e-12)


def test_the_hessian_penalty_is_twice_the_energy_beside_the_diagonal() -> None:
    """f = z₀z₁ + 3z₁z₂ + 7z₀²: 2 · 2 · (1² + 3²) = 40, whatever ε, since the difference of a quadratic is exact."""

    class Quadratic(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return z[:, :1] * z[:, 1:2] + 3 * z[:, 1:2] * z[:, 2:] + 7 * z[:, :1] ** 2

    torch.manual_seed(0)
    z = torch.randn(4, 3, dtype=torch.float64)
    assert math.isclose(value(HessianPenalty(1200, 0.5, "mean"), Quadratic(), z), 40.0, rel_tol=0.06)


# what a term on a field promises


def test_terms_share_one_pass_and_its_derivatives() -> None:
    model, calls, made = zoo.mlp().double(), [], []
    model.register_forward_hook(lambda *_: calls.append(1))

    def equation(u: Field) -> Tensor:
        made.append(u)
        return u.part(0).laplacian()

    terms = recipes.gradient_enhanced(residual=Residual(equation, NAMES)) + Residual(lambda u: u.part(1).d("t"), NAMES)
    criterion = ig.InputGradientLoss(None, terms)
    criterion(model, zoo.features(4)).backward()  # the first step also looks whether the model is flat
    calls.clear(), made.clear()
    criterion(model, zoo.features(4)).backward()
    assert (len(calls), len(made)) == (1, 1)


def test_the_field_of_a_batch_sees_the_steps_dropout_masks() -> None:
    model, x = zoo.with_dropout().double(), zoo.features(8)
    seen: list[Tensor] = []

    @ig.term
    def same(batch: ig.Batch) -> Tensor:
        u = field(batch, names=NAMES)
        seen.append((u.value - batch.output).abs().max().detach())
        return u.part(0).d("a").square()

    (nn.MSELoss() + same)(model, x, torch.zeros(8, 3, dtype=torch.float64)).backward()
    assert seen[0] == 0
    assert (model(x) - model(x)).abs().max() > 0  # and they do differ from pass to pass


def test_running_statistics_are_updated_once() -> None:
    """The base loss's pass and the field's, and one update."""
    model, plain, x = zoo.with_batch_norm().double(), zoo.with_batch_norm().double(), zoo.features(8)
    plain.load_state_dict(model.state_dict())
    y = torch.zeros(8, 3, dtype=torch.float64)
    with pytest.warns(UserWarning, match="couples the samples"):
        (nn.MSELoss() + Residual(lambda u: u.part(0).d("a"), NAMES))(model, x, y)
    plain(x)
    assert torch.equal(model[1].running_mean, plain[1].running_mean)
    assert int(model[1].num_batches_tracked) == 1


@pytest.mark.parametrize("way", ["loss", "backward", "compiled"])
def test_a_coefficient_is_learned(way: str) -> None:
    """The inverse problem: the gradient of a viscosity that is a parameter, beside the model's own."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double(), points()
    viscosity = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
    engine: Any = ig_compiled() if way == "compiled" else "auto"
    criterion = ig.InputGradientLoss(None, recipes.burgers(viscosity=viscosity, names="xt"), engine=engine)
    if way == "backward":
        criterion.backward(model, x)
    elif way == "compiled":
        with pytest.warns(UserWarning, match=r"1 tensor\(s\) that require grad and are not parameters"):
            criterion(model, x).backward()
    else:
        criterion(model, x).backward()
    found = viscosity.grad
    u = field(model, x, names="xt")
    r = u.d("t") + u.value * u.d("x") - 0.3 * u.d("xx")
    torch.testing.assert_close(found, (-2 * r * u.d("xx")).mean().detach(), rtol=1e-12, atol=0)
    assert model[0].weight.grad is not None


def ig_compiled() -> Any:
    from inputgrad.engines import Compiled

    return Compiled(backend=BACKEND)


def test_points_in_a_dict_bring_their_names() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.body(torch.stack([x, t], 1))[:, 0]

    model, z = Net(), points()
    by_name = ig.InputGradientLoss(None, recipes.burgers(viscosity=0.1))(model, {"x": z[:, 0], "t": z[:, 1]})
    by_column = ig.InputGradientLoss(None, recipes.burgers(viscosity=0.1, names="xt"))(model.body, z)
    torch.testing.assert_close(by_name, by_column, rtol=1e-14, atol=0)


def test_conditions_as_the_base_loss() -> None:
    """The batch's inputs are the boundary points, and the equation is taken at others: with the target's part as with a tensor."""
    torch.manual_seed(0)
    model, boundary, inside = zoo.mlp().double(), zoo.features(3), zoo.features(7)
    target = {"u": torch.zeros(3, 3, dtype=torch.float64), "interior": inside}
    one = ig.OnTarget("u") + Residual(lambda u: u.part(0).d("aa"), NAMES, at=ig.Given("interior"))
    step = one.evaluate(model, boundary, target)
    u = field(model, inside, names=NAMES)
    expected = model(boundary).square().mean() + u.part(0).d("aa").square().mean()
    torch.testing.assert_close(step.loss, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(step.output, model(boundary).detach(), rtol=0, atol=0)


def test_an_equation_at_another_number_of_points_than_the_batch_at_every_step() -> None:
    """From the second step on the equation's derivatives come by Taylor arithmetic, which makes no ordinary pass at its points."""
    torch.manual_seed(0)
    model, measured, inside = nn.Sequential(zoo.mlp(), nn.Linear(zoo.OUTPUTS, 1)).double(), zoo.features(3), zoo.features(7)
    criterion = nn.MSELoss() + recipes.heat(diffusivity=0.3, time="a", names=NAMES, at=ig.Given(inside))
    for _ in range(3):
        loss = criterion(model, measured, torch.zeros(3, 1, dtype=torch.float64))
        x = inside.clone().requires_grad_()
        (first,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        second = sum(torch.autograd.grad(first[:, k].sum(), x, create_graph=True)[0][:, k] for k in range(1, x.shape[1]))
        expected = model(measured).square().mean() + (first[:, 0] - 0.3 * second).square().mean()
        torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
        for parameter, wanted in zip(model.parameters(), torch.autograd.grad(expected, list(model.parameters())), strict=True):
            (found,) = torch.autograd.grad(loss, parameter, retain_graph=True)
            torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("layers", "text"), [(("9",), "is not a module of Sequential; .*Known: '0', '1'"), (("never",), "were not called"), (("layer",), "is called several times")]
)
def test_layers_that_cannot_be_penalised(layers: tuple[str, ...], text: str) -> None:
    model = {"9": zoo.mlp, "never": zoo.Unused, "layer": zoo.Shared}[layers[0]]().double()
    with pytest.raises(ValueError, match=text):
        ig.InputGradientLoss(None, HessianPenalty(layers=layers))(model, zoo.features(3))


@pytest.mark.parametrize("reduction", ["max", "max_of_outputs", "mean"])
def test_micro_batches(reduction: Any) -> None:
    """One number per sample splits into micro-batches; the largest number of the batch does not, and says that it is a statistic."""
    torch.manual_seed(0)
    model, x, signs = zoo.mlp().double(), zoo.features(6), iter(())

    def halves(parts: list[Tensor]) -> Tensor:
        torch.manual_seed(1)
        drawn = torch.randint(0, 2, (2, 6, zoo.FEATURES), dtype=torch.float64)
        rows, given = torch.arange(6).split([len(part) for part in parts]), []
        nonlocal signs
        for part, index in zip(parts, rows, strict=True):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(torch, "randint", lambda *_, index=index, **__: drawn[:, index])
                given.append(ig.InputGradientLoss(None, HessianPenalty(reduction=reduction))(model, part).detach())
        return torch.stack(given).mean()

    whole, split = halves([x]), halves([x[:3], x[3:]])
    assert HessianPenalty(reduction=reduction).per == ("batch" if reduction == "max" else "sample")
    assert math.isclose(float(whole), float(split), rel_tol=1e-12) == (reduction != "max")


def test_validation_and_copies() -> None:
    model, z = Solution(lambda x, t: x**3 + t), points()
    criterion = ig.InputGradientLoss(None, recipes.gradient_enhanced(residual=recipes.heat(diffusivity=0.1, names="xt")))
    expected = criterion(model, z).detach()
    for copied in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(copied(model, z), expected)
    with torch.inference_mode():
        assert torch.equal(criterion(model, z.clone()), expected)
    with torch.no_grad():
        assert not criterion(model, z).requires_grad


def test_backward_at_once_is_the_loss_and_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model, twin, z = zoo.mlp().double(), zoo.mlp().double(), zoo.features(6)
    twin.load_state_dict(model.state_dict())
    criterion = nn.MSELoss() + recipes.gradient_enhanced(residual=Residual(system, NAMES)) + HessianPenalty()
    y = torch.zeros(6, 3, dtype=torch.float64)
    torch.manual_seed(1)
    criterion.backward(model, z, y)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    torch.manual_seed(1)
    assert distance(found, parameter_gradients(twin, criterion(twin, z, y))) < 1e-13
    assert (z.requires_grad, z.grad) == (False, None)


class AttentionOfColumns(nn.Module):
    """u(x, t) by fused attention over the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.body = zoo.FusedAttention()

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z[:, :1, None] * torch.linspace(0.5, 2.0, math.prod(zoo.TOKENS), dtype=z.dtype).reshape(zoo.TOKENS) + z[:, 1:, None])[:, :1]


@pytest.mark.parametrize("term", [Residual(lambda u: u.d("t"), "xt"), recipes.heat(names="xt"), ResidualGradient(lambda u: u.value, "xt")])
def test_fused_attention_names_the_way_out(term: Any) -> None:
    """Of first order too, where torch would only say so in ``loss.backward()``."""
    torch.manual_seed(0)
    model = AttentionOfColumns().double()
    with pytest.raises(ig.EngineError, match=r"sdpa_kernel\(SDPBackend.MATH\)"):
        ig.InputGradientLoss(None, term)(model, points())
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        ig.InputGradientLoss(None, term)(model, points()).backward()


# bad input


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: Residual("u_t"), TypeError, "function must be a callable of the field"),
        (lambda: Residual(Field), TypeError, "function must be a callable of the field"),
        (lambda: Residual(transport, names=""), ValueError, "names must be different names"),
        (lambda: Residual(transport, names="xx"), ValueError, "names must be different names"),
        (lambda: Residual(transport, "xt", at=BOUNDARY), TypeError, "at must be a place"),
        (lambda: Residual(transport, "xt", wrt=1.5), TypeError, "wrt must be a position"),
        (lambda: ResidualGradient(transport, "xt", along=""), ValueError, "along must be different names"),
        (lambda: HessianPenalty(1), ValueError, "at least 2, since a variance"),
        (lambda: HessianPenalty(epsilon=0), ValueError, "epsilon must be positive"),
        (lambda: HessianPenalty(epsilon=-0.1), ValueError, "epsilon must be positive"),
        (lambda: HessianPenalty(layers="0"), TypeError, "layers must be names of modules in a tuple"),
        (lambda: HessianPenalty(reduction="sum"), ValueError, "Known: 'max', 'max_of_outputs', 'mean'"),
        (lambda: recipes.gradient_enhanced(residual=ig.GradientNorm()), TypeError, "takes a Residual or a recipe for one"),
    ],
)
def test_bad_settings(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.parametrize(
    ("term", "kind", "text"),
    [
        (Residual(lambda u: u.d("t"), "xyz"), ValueError, r"names must name each of the 2 coordinates"),
        (Residual(lambda u: u.d("t")), ValueError, "names= is missing"),
        (Residual(lambda u: u.d("q"), "xt"), ValueError, "'q' is not spelled of the coordinates' names"),
        (Residual(lambda u: u.d(), "xt"), TypeError, "a derivative is named by its coordinates"),
        (Residual(lambda u: u.coordinate("y"), "xt"), ValueError, "not spelled"),
        (Residual(lambda u: u.part("p").value, "xt"), ValueError, "'p' is not an output"),
        (Residual(lambda u: u.value, "xt", outputs="uv"), ValueError, r"outputs must name each of the model's 1 output"),
        (Residual(lambda u: u.value[:, None] - u.coordinate("x"), "xt"), ValueError, r"got shape \[9, 9\]: \[N, 1\] and \[N\] were broadcast"),
        (Residual(lambda u: u.value.mean(), "xt"), ValueError, r"one residual per point, \[N\] = \[9\]"),
        (Residual(lambda u: (), "xt"), ValueError, "returned no residual"),
        (Residual(lambda u: None, "xt"), ValueError, "got NoneType"),
        (recipes.heat(names="xy"), ValueError, "'t' is not spelled"),
    ],
)
def test_bad_equations(term: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        ig.InputGradientLoss(None, term)(Solution(lambda x, t: x * t), points())
