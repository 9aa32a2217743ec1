"""The operators that take Taylor arithmetic: their results, estimates and fields against nested reverse mode, and what is learnt and remembered."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad import operators
from inputgrad.memory import memory
from inputgrad.operators.taylor import field_source, questions
from inputgrad.operators.taylor.trust import remembered
from inputgrad.step.verifier import Verifier


def net(inputs: int = 3, outputs: int = 1, kind: type[nn.Module] = nn.Tanh) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), kind(), nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, outputs)).double()


def points(n: int = 6, inputs: int = 3) -> Tensor:
    return torch.rand(n, inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@contextmanager
def nested() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in (questions, field_source):
            patch.setattr(module, "why_not", lambda *_: "switched off")
        yield


def same(a: Tensor, b: Tensor, model: nn.Module) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    weight = torch.linspace(1, 2, a.numel(), dtype=a.dtype).view_as(a)
    for one, other in zip(
        *(torch.autograd.grad((part * weight).sum(), list(model.parameters()), retain_graph=True, allow_unused=True) for part in (a, b)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("probe", ["rademacher", "gaussian", "coordinates"])
@pytest.mark.parametrize("probes", [None, 3, 2])
@pytest.mark.parametrize("operator", ["laplacian", "divergence"])
def test_operators_equal_nested_reverse_mode(operator: str, probes: int | None, probe: str) -> None:
    model, x = net(outputs=3), points()
    results = []
    for way in (nested, torch.enable_grad):
        torch.manual_seed(2)
        with way():
            results.append(getattr(operators, operator)(model, x, probes=probes, probe=probe))
    same(*results, model)
    expected = {} if operator == "divergence" and probes == 2 else {operator if probes is None else f"{operator} by probes": None}
    assert {key: why for key, why in remembered(model).items() if why is None} == expected


def test_coordinate_samples_are_unbiased_and_exact_where_all_are_drawn() -> None:
    model, x = net(outputs=3), points()
    for operator in (operators.laplacian, operators.divergence):
        torch.testing.assert_close(operator(model, x, probes=3, probe="coordinates"), operator(model, x))
        drawn = torch.stack([operator(model, x, probes=1, probe="coordinates") for _ in range(60)])
        exact = {round(float(part), 9) for part in drawn[:, 0].detach().flatten()}
        assert len(exact) <= 3 * drawn[0, 0].numel(), "one of three coordinates each time"
    with pytest.raises(ValueError, match="draws each coordinate once at most, and there are 3"):
        operators.laplacian(model, x, probes=4, probe="coordinates")


def equation(u: ig.Field) -> Tensor:
    return u.d("t") + u.value * u.d("x") - 0.01 * u.d("xx") + u.d("xxxx") + u.d("xxtt") + u.coordinate("y") * u.laplacian("x", "y")


def fields(model: nn.Module, x: Tensor, count: int = 3) -> list[ig.Field]:
    made = []
    for _ in range(count):
        u = operators.field(model, x, names="xyt")
        equation(u)
        made.append(u)
    return made


def by_taylor(u: ig.Field) -> bool:
    return u._coordinates.source.by_taylor


def test_a_field_learns_what_it_is_asked_and_makes_one_pass_from_the_second_time_on() -> None:
    model, x = net(), points()
    first, second, third = fields(model, x)
    assert [by_taylor(u) for u in (first, second, third)] == [False, True, True]
    same(equation(second), equation(first), model)


def test_a_field_whose_first_request_is_of_second_order_makes_one_pass_at_once() -> None:
    model, x = net(), points()
    for ask in (lambda u: u.laplacian("x", "y") + u.d("t") + u.d("xt"), lambda u: u.biharmonic(), lambda u: u.d("xx") + u.d("yy")):
        u = operators.field(model, x, names="xyt")
        found = ask(u)
        assert by_taylor(u)
        with nested():
            same(ask(operators.field(model, x, names="xyt")), found, model)


def test_an_output_that_is_no_field_is_told_whatever_is_asked_first() -> None:
    for _ in range(2):
        u = operators.field(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Unflatten(1, (2, 2))).double(), points(), names="xyt")
        for ask in (lambda u: u.laplacian(), lambda u: u.d("xx"), lambda u: u.d("x"), lambda u: u.value):
            with pytest.raises(ValueError, match=r"a field's output must be \[N\] or \[N, C\]"):
                ask(u)


def test_a_field_over_an_inner_modules_output_nests_each_time() -> None:
    model, x = net(), points()
    width = model[0].out_features
    for _ in range(3):
        u = operators.field(model, x, names=[f"h{number}" for number in range(width)], wrt="module:0")
        hidden = model[0](x).detach().requires_grad_()
        (first,) = torch.autograd.grad(model[1:](hidden).sum(), hidden, create_graph=True)
        torch.testing.assert_close(u.d("h0", "h1"), torch.autograd.grad(first[:, 0].sum(), hidden)[0][:, 1])
        assert not by_taylor(u)


def test_the_check_of_the_first_step_replays_the_formulas_branches_beside_a_pass_on_jets(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = []
    verify = Verifier.verify
    monkeypatch.setattr(Verifier, "verify", lambda self, engine: outcomes.append(verify(self, engine)) or outcomes[-1])
    for equation in (lambda u: torch.relu(u.laplacian("x") - u.d("t")) + u.value, lambda u: torch.where(u.d("t") > 0, u.d("xx"), u.value)):
        model = nn.Sequential(nn.Linear(2, 20), nn.Hardswish(), nn.Linear(20, 20), nn.ELU(), nn.Linear(20, 1)).double()
        ig.InputGradientLoss(None, ig.Residual(equation, "xt")).backward(model, points()[:, :2], None)
        assert None in remembered(model).values()
    assert [found.status for found in outcomes] == ["verified"] * 2


def test_what_was_not_asked_before_comes_by_reverse_mode_from_the_pass() -> None:
    model, x = net(), points()
    first, _, third = fields(model, x)
    for name in ("yyy", "ty", "xxxt"):
        same(third.d(name), first.d(name), model)
    r = equation(third)
    for a, b in zip(third.slopes(r), first.slopes(equation(first)), strict=True):
        same(a, b, model)
    same(third.of(third.d("xx") ** 2, "t"), first.of(first.d("xx") ** 2, "t"), model)


def test_several_outputs_come_from_one_pass() -> None:
    model, x = net(outputs=2), points()
    made = []
    for _ in range(2):
        flow = operators.field(model, x, names="xyt", outputs="uv")
        u, v = flow
        made.append(torch.stack([u.d("x") + v.d("y"), u.laplacian("x", "y") + v.d("xt"), flow.part("v").d("tt")]))
        source = flow._coordinates.source
    assert source.by_taylor
    same(made[1], made[0], model)


def test_a_residual_and_its_gradient_have_the_same_value_and_gradients_from_the_second_step_on() -> None:
    def heat(u: Any) -> Tensor:
        return u.d("t") - u.laplacian("x", "y")

    model, x = net(), points()
    criterion = ig.InputGradientLoss(None, ig.Residual(heat, "xyt") + 0.1 * ig.ResidualGradient(heat, "xyt"))
    found = []
    for _ in range(3):
        model.zero_grad()
        criterion.backward(model, x, None)
        found.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
    for later in found[1:]:
        for a, b in zip(later, found[0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert None in remembered(model).values()


def test_first_derivatives_alone_are_left_to_reverse_mode() -> None:
    model, x = net(), points()
    for _ in range(3):
        u = operators.field(model, x, names="xyt")
        u.gradient()
        assert not by_taylor(u)
    assert remembered(model) == {}


def test_a_model_that_changes_is_compared_again() -> None:
    model, x = net(), points()
    operators.laplacian(model, x)
    handle = model[1].register_forward_hook(lambda module, args, output: output * 2)
    expected = operators.laplacian(model, x)
    with nested():
        torch.testing.assert_close(operators.laplacian(model, x), expected)
    assert sorted(map(str, _reasons(model))) == ["None", "module '1' has hooks"]
    handle.remove()


def _reasons(model: nn.Module) -> list[str | None]:
    return [value for key, value in memory(model).measured.items() if isinstance(key, tuple) and key[0] == "taylor"]


def test_dropout_has_the_mask_of_plain_torch_and_leaves_its_random_state() -> None:
    model, x = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 8), nn.Dropout1d(0.3), nn.Tanh(), nn.Linear(8, 1)).double(), points()
    results, states = [], []
    for way in (nested, torch.enable_grad, torch.enable_grad):
        torch.manual_seed(4)
        with way():
            results.append(operators.laplacian(model, x))
        states.append(torch.get_rng_state())
    same(results[1], results[0], model)
    same(results[2], results[0], model)
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


def test_a_buffer_that_counts_passes_counts_one_for_each_call() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = net()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.body(x)

    model = Counting()
    for calls in range(1, 4):
        operators.laplacian(model, points())
        assert float(model.calls) == calls
    assert remembered(model) == {"laplacian": None}


def test_how_derivatives_were_computed_is_told_in_words() -> None:
    model, x = net(), points()
    fields(model, x)
    operators.laplacian(model, x)
    told = operators.how_computed(model)
    assert told.pop("laplacian") == "Taylor arithmetic"
    ((name, how),) = told.items()
    assert how == "Taylor arithmetic"
    assert name.startswith("field: d(")
    assert "d(0,0,2,2)" in name
    assert "sum of" in name
    gated = nn.Sequential(nn.Linear(3, 4), nn.GRUCell(4, 4), nn.Tanh()).double()
    operators.laplacian(gated, x)
    assert operators.how_computed(gated) == {"laplacian": "nested reverse mode: gru_cell has no rule"}


def cahn_hilliard(u: ig.Field) -> Tensor:
    cube = 3 * u.value**2 * u.laplacian("x", "y") + 6 * u.value * u.gradient("x", "y").square().sum(1)
    return u.d("t") - cube + u.laplacian("x", "y") + 0.3 * u.biharmonic("x", "y")


def by_laplacians(model: nn.Module, x: Tensor) -> Tensor:
    """The same from its definition, u_t = Δ(u³ − u − γΔu)."""
    x = x.clone().requires_grad_()

    def slopes(quantity: Tensor) -> Tensor:
        return torch.autograd.grad(quantity.sum(), x, create_graph=True)[0]

    def laplacian(quantity: Tensor) -> Tensor:
        first = slopes(quantity)
        return slopes(first[:, 0])[:, 0] + slopes(first[:, 1])[:, 1]

    u = model(x)[:, 0]
    return slopes(u)[:, 2] - laplacian(u**3 - u - 0.3 * laplacian(u))


def kuramoto_sivashinsky(u: ig.Field) -> Tensor:
    return u.d("t") + u.value * u.d("x") + u.d("xx") + u.d("xxxx")


def by_grad(model: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    u, known = model(x)[:, 0], []
    for column in (0, 0, 0, 0):
        last = known[-1] if known else u
        known.append(torch.autograd.grad(last.sum(), x, create_graph=True)[0][:, column])
    (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    return first[:, 2] + u * known[0] + known[1] + known[3]


@pytest.mark.parametrize(("equation", "by_hand"), [(cahn_hilliard, by_laplacians), (kuramoto_sivashinsky, by_grad)])
def test_equations_of_fourth_order_equal_their_definition(equation: Any, by_hand: Any) -> None:
    """By nesting in the first evaluation, by one pass with coefficients from the second one on."""
    model, x = net(), points()
    for step in range(3):
        u = operators.field(model, x, names="xyt")
        found = equation(u)
        assert u._coordinates.source.by_taylor == (step > 0)
        same(found, by_hand(model, x), model)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_biharmonic_is_one_sum(outputs: int) -> None:
    model, x = net(outputs=outputs), points()
    for _ in range(2):
        u = operators.field(model, x, names="xyz")
        found = u.biharmonic()
    expected = sum(u.d(a, a, b, b) for a in "xyz" for b in "xyz")
    same(found, expected, model)
    assert len(u._coordinates.source._plan.layout.sums) == 1
    assert sorted(u._coordinates.source._plan.layout.sums[0]) == [(1.0, (k, k, k, k)) for k in range(3)] + [
        (2.0, (a, a, b, b)) for a, b in ((0, 1), (0, 2), (1, 2))
    ]


def test_hessian_and_divergence_of_a_field() -> None:
    model, x = net(outputs=3), points()
    for _ in range(2):
        u = operators.field(model, x, names="xyz")
        hessian, divergence = u.hessian(), u.divergence()
        same(hessian, torch.stack([torch.stack([u.d(a, b) for b in "xyz"], -1) for a in "xyz"], -2), model)
        same(divergence, operators.divergence(model, x), model)
        assert hessian.shape == (6, 3, 3, 3)
        assert u.part(0).hessian("x", "z").shape == (6, 2, 2)
    with pytest.raises(ValueError, match="as many coordinates as outputs"):
        operators.field(model, x, names="xyz").divergence("x")
