"""Passes, derivatives and looks that a plain step does not make twice, or not at all. Judged by plain torch in float64, and by counting."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.torch_internals.autograd_graph import leaves_of, nodes_of
from tests.textbook import Gradients, distance

X = torch.rand(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
Y = torch.sin(X.sum(1, keepdim=True))
DELTA = torch.rand(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
GAMMA = torch.rand(12, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
TARGET = {"price": Y, "delta": DELTA, "gamma": GAMMA}
CLASSES = torch.arange(12) % 3


def layers(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, outputs)).double()


class Net(nn.Module):
    """A network of one's own."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.layers, self.noise = layers(outputs), 0.0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out + self.noise * torch.randn_like(out) if self.noise else out


def gradients(model: nn.Module, loss: Tensor) -> Gradients:
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


def derivatives(model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    z = X.clone().requires_grad_()
    output = model(z)
    (slope,) = torch.autograd.grad(output.sum(), z, create_graph=True)
    return output, slope, torch.stack([torch.autograd.grad(column.sum(), z, create_graph=True)[0] for column in slope.unbind(1)], 1)


def greeks(model: nn.Module) -> Tensor:
    output, slope, hessian = derivatives(model)
    return F.mse_loss(output, Y) + (slope - DELTA).square().sum(1).mean() + 0.1 * (hessian - GAMMA).square().sum((1, 2)).mean()


def distance_field(model: nn.Module) -> Tensor:
    output, slope, hessian = derivatives(model)
    return F.mse_loss(output, Y) + (slope.norm(dim=1) - 1).square().mean() + (hessian.diagonal(dim1=1, dim2=2).sum(1) - output[:, 0]).square().mean()


LOSSES: dict[str, tuple[Callable[[], Any], Callable[[nn.Module], Tensor], Any]] = {
    "greeks": (lambda: ig.OnTarget("price") + ig.GradientMatch("delta") + 0.1 * ig.HessianMatch("gamma"), greeks, TARGET),
    "gammas first": (lambda: ig.OnTarget("price") + 0.1 * ig.HessianMatch("gamma") + ig.GradientMatch("delta"), greeks, TARGET),
    "a distance field": (
        lambda: nn.MSELoss() + ig.GradientNorm(center=1, power=2) + ig.Residual(lambda u: u.d("xx") + u.d("yy") - u.value, names="xy"),
        distance_field,
        Y,
    ),
}


@pytest.mark.parametrize("make", [layers, Net])
@pytest.mark.parametrize("loss", LOSSES)
def test_first_and_second_derivatives_are_of_one_pass(loss: str, make: Callable[[], nn.Module], plain: list[str], backward_passes: list[int]) -> None:
    criterion, model, target = LOSSES[loss][0](), make(), LOSSES[loss][2]
    wanted = gradients(model, LOSSES[loss][1](model))
    passes: list[int] = []
    for step in range(5):
        if step == 4:
            (model.layers if isinstance(model, Net) else model)[0].register_forward_hook(lambda *_: passes.append(1))  # type: ignore[index, operator]  # layers
            criterion(model, X, target)  # a hook was added: the step in full, and the first plain one after it
            criterion(model, X, target)
            passes.clear()
            backward_passes.clear()
        assert distance(gradients(model, criterion(model, X, target)), wanted) < 1e-12, step
    assert len(passes) == 1
    assert len(backward_passes) == 3, "one for the slope, and one for each of its columns"
    assert set(plain) == {"made"}


@pytest.fixture
def backward_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    run = torch.autograd.graph._engine_run_backward

    def noted(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("accumulate_grad") is False and args[2]:  # with a graph of its own
            found.append(1)
        return run(outputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd.graph, "_engine_run_backward", noted)
    return found


def test_a_pass_with_derivatives_of_our_own_is_not_shared(plain: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inputgrad.derivatives.twice_differentiable.LEAST", 0)  # the size from which they gain something
    torch.manual_seed(0)
    model, criterion = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1)).double(), LOSSES["greeks"][0]()
    wanted, passes = gradients(model, greeks(model)), []
    model[0].register_forward_hook(lambda *_: passes.append(1))
    for step in range(4):
        passes.clear()
        assert distance(gradients(model, criterion(model, X, TARGET)), wanted) < 1e-12
        assert step == 0 or len(passes) == 2
    assert plain == ["made"] * 3


def attack(steps: int = 2) -> Any:
    return nn.CrossEntropyLoss() + ig.Adversarial(ig.PGD(0.1, steps=steps, start="none"))


@pytest.mark.parametrize("make", [layers, Net])
def test_inputs_of_which_no_term_asks_a_gradient_are_no_variables(make: Callable[[int], nn.Module], plain: list[str]) -> None:
    model, criterion = make(3), attack()
    for step in range(3):
        loss = criterion(model, X, CLASSES)
        assert step == 0 or {id(leaf) for leaf in leaves_of([loss])} == {id(parameter) for parameter in model.parameters()}
    assert plain == ["made"] * 2


class SometimesAsks(ig.terms.Term):
    """Asks for the gradient from the third call on."""

    calls = 0

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        moved = batch.output_with({0: batch.variable() + 0.1}).square().sum(1)
        return moved + batch.gradient().square().sum(1) if self.calls > 2 else moved


@pytest.mark.parametrize("base", [None, "mse"])
@pytest.mark.parametrize("make", [layers, Net])
def test_a_gradient_that_is_asked_for_later_only_is_right(make: Callable[[], nn.Module], base: Any) -> None:
    model, criterion = make(), ig.InputGradientLoss(base, SometimesAsks(), verify=False)
    for step in range(5):
        z = X.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
        loss = model(X + 0.1).square().mean() + (slope.square().sum(1).mean() if step >= 2 else 0) + (F.mse_loss(model(X), Y) if base else 0)
        assert distance(gradients(model, criterion(model, X, Y)), gradients(model, loss)) < 1e-12, step


class Asks(ig.terms.Term):
    """Asks for the gradient, or a derivative by name, from the third call on, and for nothing but that."""

    further_passes, calls = False, 0

    def __init__(self, by_name: bool) -> None:
        self.by_name, self.further_passes = by_name, by_name  # type: ignore[misc]  # a class variable of Term's, set for one term

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        if self.calls <= 2:
            return batch.output.square().sum(1)
        if self.by_name:
            return ig.field(batch, names="xy").d("xx").square()
        asked: Tensor = batch.gradient().square().sum(1)
        return asked


@pytest.mark.filterwarnings("ignore:module .* couples the samples")
@pytest.mark.parametrize("by_name", [False, True], ids=["a gradient", "a field"])
@pytest.mark.parametrize("base", [None, "mse"])
@pytest.mark.parametrize("kind", [nn.Dropout(0.3), nn.BatchNorm1d(8), nn.LayerNorm(8)], ids=lambda kind: type(kind).__name__)
def test_derivatives_that_are_asked_for_later_only_see_the_state_of_the_step(kind: nn.Module, base: Any, by_name: bool) -> None:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 8), copy.deepcopy(kind), nn.Tanh(), nn.Linear(8, 1)).double()

    model, other, term = made(), made(), Asks(by_name)
    criterion = ig.InputGradientLoss(base, term, verify=False)
    for step in range(5):
        fresh = Asks(by_name)
        fresh.calls = term.calls
        torch.manual_seed(step)
        wanted = gradients(other, ig.InputGradientLoss(base, fresh, verify=False)(other, X, Y)), torch.rand(())
        torch.manual_seed(step)
        found = gradients(model, criterion(model, X, Y)), torch.rand(())
        assert distance(found[0], wanted[0]) < 1e-10, step
        assert torch.equal(found[1], wanted[1]), step
        torch.testing.assert_close(dict(model.named_buffers()), dict(other.named_buffers()), rtol=1e-12, atol=0)


def writes_slope(u: ig.Field) -> Tensor:
    r = u.d("x")
    r -= u.value
    return r


def writes_value(u: ig.Field) -> Tensor:
    r = u.value
    r -= u.d("y")
    return r


def writes_part(u: ig.Field) -> Tensor:
    u.value[:].clamp_(min=0.1)
    return u.d("x") - u.value


EQUATIONS = {"a slope": writes_slope, "the value": writes_value, "a part": writes_part}


class WritesOutput(ig.terms.Term):
    def __call__(self, batch: ig.Batch) -> Tensor:
        output, (_,) = batch.output_and_variables(0)
        output *= 2
        return output.square().sum(1)


BESIDE: dict[str, Callable[[Any], Any]] = {
    "before a Hessian": lambda term: term + ig.HessianMatch("gamma"),
    "before labels": lambda term: term + ig.GradientMatch("delta"),
    "after a norm": lambda term: ig.GradientNorm() + term,
    "after all": lambda term: ig.GradientMatch("delta") + ig.HessianMatch("gamma") + term,
}
WRITES: dict[str, Callable[[], Any]] = {
    "a slope": lambda: ig.Residual(writes_slope, names="xy"),
    "the value": lambda: ig.Residual(writes_value, names="xy"),
    "a part": lambda: ig.Residual(writes_part, names="xy"),
    "the output": WritesOutput,
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("base", [None, "price"])
@pytest.mark.parametrize("writes", WRITES)
def test_what_one_term_writes_on_is_not_what_another_one_sees(writes: str, base: str | None, beside: str, plain: list[str]) -> None:
    model = Net()

    def criterion() -> Any:
        return ig.InputGradientLoss(None if base is None else ig.OnTarget(base), BESIDE[beside](WRITES[writes]()), verify=False)

    wanted, kept = gradients(model, criterion()(model, X, TARGET)), criterion()
    for step in range(4):
        assert distance(gradients(model, kept(model, X, TARGET)), wanted) < 1e-12, step
    assert plain == ["made"] * 3


@pytest.mark.parametrize("make", [layers, Net])
@pytest.mark.parametrize("base", [None, "mse", "l1"])
@pytest.mark.parametrize("beside", ["", *BESIDE])
@pytest.mark.parametrize("writes", ["a slope", "the value", "a part"])
def test_a_term_that_begins_to_write_is_seen(writes: str, beside: str, base: Any, make: Callable[[], nn.Module], plain: list[str]) -> None:
    model, calls, step = make(), 0, 0

    def equation(u: ig.Field) -> Tensor:
        nonlocal calls
        calls += 1
        return EQUATIONS[writes](u) if step >= 3 else u.d("x") - u.value

    def criterion() -> Any:
        terms = ig.Residual(equation, names="xy")
        return ig.InputGradientLoss(None if base is None else ig.OnTarget("price", base), BESIDE[beside](terms) if beside else terms, verify=False)

    kept = criterion()
    for step in range(7):
        wanted = gradients(model, criterion()(model, X, TARGET))
        calls = 0
        assert distance(gradients(model, kept(model, X, TARGET)), wanted) < 1e-12, step
        assert calls == 1 or (step == 3 and plain[-1] == "UnforeseenError")
    assert set(plain[:2] + plain[3:]) == {"made"}
    if not beside:
        assert (plain[2] == "made") == (base is None or writes == "a slope"), "nothing is shared, or what is written on is not"


class Proxy(ig.terms.Term):
    """Ten times another term, whose attributes are its own."""

    def __init__(self, inner: ig.terms.Term) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __call__(self, batch: ig.Batch) -> Tensor:
        return 10 * self.inner(batch)


@pytest.mark.parametrize("inner", [ig.GradientNorm(power=2), ig.GradientMatch("delta")], ids=["a norm", "labels"])
def test_a_term_around_one_of_ours_is_asked_itself(inner: ig.terms.Term) -> None:
    model = layers()
    criterion = ig.InputGradientLoss(None, Proxy(inner), verify=False)
    wanted = 10 * ig.InputGradientLoss(None, inner, verify=False)(model, X, TARGET).item()
    for _ in range(3):
        assert criterion(model, X, TARGET).item() == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_labels_that_are_drawn_are_drawn_once_a_step(reduction: Any) -> None:
    calls: list[int] = []

    def drawn(batch: ig.Batch) -> Tensor:
        calls.append(1)
        found = torch.rand(12, 2, dtype=torch.float64)
        return found.masked_fill(found < 0.3, torch.nan)

    model = layers()
    criterion = ig.InputGradientLoss("mse", ig.GradientMatch(drawn, reduction=reduction), verify=False)
    for step in range(4):
        torch.manual_seed(step)
        wanted = ig.InputGradientLoss("mse", ig.GradientMatch(drawn, reduction=reduction), verify=False)(model, X, Y), torch.rand(())
        calls.clear()
        torch.manual_seed(step)
        found = criterion(model, X, Y), torch.rand(())
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)
        assert len(calls) == 1


class Detaches(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.detach() if self.noise else x) + 0 * self.noise


@pytest.mark.parametrize("first", [True, False])
def test_an_output_that_no_longer_depends_on_its_input_is_told(first: bool) -> None:
    model, norm, residual = Detaches(), ig.GradientNorm(), ig.Residual(lambda u: u.d("x") - u.value, names="xy")
    criterion = ig.InputGradientLoss("mse", norm + residual if first else residual + norm)
    for _ in range(3):
        criterion(model, X, Y)
    model.noise = 1e-300
    with pytest.raises(ValueError, match="does not depend on"):
        criterion(model, X, Y)


class Counts(ig.terms.Term):
    """Counts its calls, and asks for another kind of thing at some of them."""

    calls = 0

    def __init__(self, asks: str) -> None:
        self.asks = asks

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        clean, asks = batch.output, self.asks if self.calls > 2 else ""
        if asks == "gradient":
            return batch.gradient().square().sum(1) + clean[:, 0]
        shift = torch.rand(()).item() if asks == "draws" else 0.1
        if asks == "another pass" and self.calls % 4 == 0:
            return batch.output_with({0: batch.variable() + shift}).square().sum(1)
        return (batch.output_with({0: batch.variable() + shift}) - clean).square().sum(1) if self.asks == "draws" else clean.square().sum(1)


@pytest.mark.parametrize("asks", ["gradient", "draws", "another pass"])
def test_a_term_is_asked_once_a_step_whatever_it_asks_for(asks: str) -> None:
    model, term = layers(), Counts(asks)
    several = ig.GradientMatch("delta") + ig.HessianMatch("gamma")
    criterion = ig.InputGradientLoss(None, several + term if asks == "another pass" else term, verify=False)
    calls = []
    for _ in range(7):
        criterion(model, X, TARGET if asks == "another pass" else Y)
        calls.append(term.calls)
    assert calls == list(range(1, 8))


class BeginsToDraw(ig.terms.Term):
    """Draws between its passes from the third call on."""

    calls = 0

    def __call__(self, batch: ig.Batch) -> Tensor:
        self.calls += 1
        clean = batch.output
        shift = torch.rand(()).item() if self.calls > 2 else 0.1
        return (batch.output_with({0: batch.variable() + shift}) - clean).square().sum(1)


@pytest.mark.parametrize("make", [layers, Net])
def test_a_term_that_begins_to_draw_between_passes_draws_once_a_step(make: Callable[[], nn.Module]) -> None:
    model, term = make(), BeginsToDraw()
    criterion = ig.InputGradientLoss(None, term, verify=False)
    for step in range(6):
        torch.manual_seed(step)
        found, after = criterion(model, X, Y).detach(), torch.rand(())
        torch.manual_seed(step)
        shift = torch.rand(()).item() if step >= 2 else 0.1
        torch.testing.assert_close(found, (model(X + shift) - model(X)).square().sum(1).mean().detach())
        assert torch.equal(after, torch.rand(())), "as many numbers as the term asked for"


def test_a_model_that_begins_to_draw_in_the_second_pass_sees_the_same_numbers_in_both() -> None:
    class Begins(Net):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layers(x)
            return out + torch.randn_like(out) * (x > 1).any() if (x > 1).any() else out

    model, other, criterion = Begins(), Begins(), ig.InputGradientLoss(None, Moved(), verify=False)
    for step in range(6):
        x = 0.5 * X + (0.3 if step >= 2 else 0.0) * (step % 3)
        torch.manual_seed(step)
        found = criterion(model, x, Y).detach(), torch.rand(())
        torch.manual_seed(step)
        wanted = ig.InputGradientLoss(None, Moved(), verify=False, engine="double_backward")(other, x, Y).detach(), torch.rand(())
        assert torch.equal(found[0], wanted[0]), step
        assert torch.equal(found[1], wanted[1]), step


class Moved(ig.terms.Term):
    def __call__(self, batch: ig.Batch) -> Tensor:
        clean = batch.output
        return (batch.output_with({0: batch.variable() + 0.3}) - clean).square().sum(1)


class Piecewise(Net):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(F.relu(x @ torch.eye(2, dtype=x.dtype)))
        return F.leaky_relu(out, 0.2)


def test_small_pieces_are_left_to_torch_and_large_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    model, criterion = Piecewise(), ig.InputGradientLoss("mse", ig.GradientNorm(power=2), verify=False)
    large = torch.rand(1 << 15, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for x in (X, large, X):
        z = x.clone().requires_grad_()
        output = model(z)
        (slope,) = torch.autograd.grad(output.sum(), z, create_graph=True)
        y = torch.zeros_like(output)
        wanted = gradients(model, F.mse_loss(output, y) + slope.square().sum(1).mean())
        for _ in range(3):
            loss = criterion(model, x, y)
            names = {type(node).__name__ for node in nodes_of([loss])}
            assert ("_SlopeBackward" in names) == (x is large)
            assert distance(gradients(model, loss), wanted) < 1e-10


SUMS: dict[str, Callable[[], Any]] = {
    "a norm": lambda: ig.GradientNorm(power=2),
    "a norm around 1": lambda: ig.GradientNorm(power=2, center=1),
    "a norm from above": lambda: ig.GradientNorm(power=2, center=0.1, side="above"),
    "of several rows": lambda: ig.GradientNorm(power=2, of=ig.heads.EachOutput()),
    "of one direction": lambda: ig.GradientNorm(power=2, of=ig.heads.RandomProjection()),
    "of two directions": lambda: ig.GradientNorm(power=2, of=ig.heads.RandomProjection(2)),
    "labels": lambda: ig.GradientMatch("delta"),
    "labels of forces": lambda: ig.GradientMatch("delta", sign=-1, reduction="mean"),
    "labels, some missing": lambda: ig.GradientMatch("missing", reduction="mean"),
    "labels and a mask": lambda: ig.GradientMatch("delta", mask="mask", sign=-1),
    "labels by Huber": lambda: ig.GradientMatch("delta", norm="huber", sign=-1, delta=0.2),
    "labels, in sizes": lambda: ig.GradientMatch("delta", norm="absolute", sign=-1, scale=-2.0),
    "sample weights": lambda: ig.GradientMatch("delta").sample_weight("w"),
    "a share": lambda: ig.GradientNorm(power=2).scheduled(fraction=0.5),
}


@pytest.mark.parametrize("make", [layers, Net])
@pytest.mark.parametrize("name", SUMS)
def test_a_sum_by_fewer_operations_is_the_sum_of_the_formula(name: str, make: Callable[[], nn.Module]) -> None:
    model = make()
    target = {**TARGET, "missing": DELTA.clone().index_fill_(0, torch.tensor([1, 5]), torch.nan), "mask": (DELTA > 0.4), "w": torch.rand(12)}
    criterion = ig.OnTarget("price") + 0.3 * SUMS[name]()
    for step in range(4):
        torch.manual_seed(step)
        wanted = (ig.OnTarget("price") + 0.3 * SUMS[name]()).evaluate(model, X, target)
        torch.manual_seed(step)
        found = criterion.evaluate(model, X, target)
        torch.testing.assert_close(found.loss, wanted.loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(dict(found.parts), dict(wanted.parts), rtol=1e-12, atol=0)
        assert distance(gradients(model, found.loss), gradients(model, wanted.loss)) < 1e-12, step


class Doubled(ig.GradientNorm):
    def __call__(self, batch: ig.Batch) -> Tensor:
        return 2 * super().__call__(batch)


def test_a_formula_derived_from_one_of_ours_is_asked_itself(plain: list[str]) -> None:
    model = layers()
    found = [ig.InputGradientLoss(None, kind(power=2), verify=False) for kind in (Doubled, ig.GradientNorm)]
    for _ in range(3):
        doubled, single = [criterion(model, X, Y).item() for criterion in found]
        assert doubled == pytest.approx(2 * single, rel=1e-12)
    assert plain == ["made"] * 4


def test_labels_of_another_shape_are_told_at_a_later_step_too() -> None:
    model, criterion = layers(), ig.OnTarget("price") + ig.GradientMatch("delta")
    for _ in range(2):
        criterion(model, X, TARGET)
    with pytest.raises(ValueError, match="GradientMatch: wanted"):
        criterion(model, X, {**TARGET, "delta": DELTA[:, :1].expand(12, 3)})


class WritesConstant(ig.terms.Term):
    def __call__(self, batch: ig.Batch) -> Tensor:
        g = batch.gradient(constant=True)
        g.mul_(2)
        return batch.output.squeeze(1) * g.sum(1)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("term", [ig.GradientMatch("delta"), ig.GradientNorm(power=2), ig.GradientNorm(), ig.GradientMatch("delta", norm="absolute")])
def test_a_constant_that_is_written_on_is_a_terms_own(term: ig.terms.Term, first: bool) -> None:
    model = layers()
    criterion = ig.OnTarget("price") + (WritesConstant() + term if first else term + WritesConstant())
    output, slope, _ = derivatives(model)
    own = (ig.OnTarget("price") + term)(model, X, TARGET)
    wanted = gradients(model, own + (output.squeeze(1) * 2 * slope.detach().sum(1)).mean())
    for step in range(4):
        assert distance(gradients(model, criterion(model, X, TARGET)), wanted) < 1e-12, step


@pytest.mark.filterwarnings("ignore:module .* couples the samples")
@pytest.mark.parametrize("layer", [nn.LayerNorm(8), nn.BatchNorm1d(8)], ids=lambda layer: type(layer).__name__)
def test_what_torch_would_differentiate_wrongly_is_refused_at_each_step(layer: nn.Module) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), copy.deepcopy(layer), nn.Softplus(), nn.Linear(8, 1)).double()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2), verify=False)
    for _ in range(3):
        with pytest.raises(ig.EngineError, match="can be differentiated with respect to the parameters once, not twice"):
            criterion(model, X, Y).backward(create_graph=True)
        criterion(model, X, Y).backward()
        model.zero_grad()
