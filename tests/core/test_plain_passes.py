"""Steps of several passes that are made as by hand: at places, of fields, beside a base loss. Judged by plain torch in float64."""

import copy
import gc
import random
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.operators.taylor import plan
from inputgrad.passes.traces import Traces, traces_of
from tests.textbook import Gradients, distance


class Net(nn.Module):
    """A network of one's own."""

    def __init__(self, inputs: int = 2, activation: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(inputs, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.second(self.activation(self.first(x)))))


def layers(inputs: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


MODELS: dict[str, Callable[[], nn.Module]] = {"torch's": layers, "the user's": Net}
X, Y = torch.rand(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.ones(12, 1, dtype=torch.float64)
OTHER = torch.rand(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
EDGE = torch.rand(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def gradients(model: nn.Module, loss: Tensor) -> Gradients:
    named = dict(model.named_parameters())
    return dict(zip(named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True))


def first(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    z = x.clone().requires_grad_()
    u = model(z)
    return z, u, torch.autograd.grad(u.sum(), z, create_graph=True)[0]


def burgers(model: nn.Module, x: Tensor) -> Tensor:
    z, u, g = first(model, x)
    uxx = torch.autograd.grad(g[:, 0].sum(), z, create_graph=True)[0][:, 0]
    return (g[:, 1] + u[:, 0] * g[:, 0] - 0.1 * uxx).square().mean()


def residual(at: ig.Place | None = None) -> ig.terms.Residual:
    return ig.Residual(lambda u: u.d("t") + u.value * u.d("x") - 0.1 * u.d("xx"), names="xt", at=at)


LOSSES: dict[str, tuple[Callable[[], ig.InputGradientLoss], Callable[[nn.Module], Tensor]]] = {
    "an equation": (lambda: ig.InputGradientLoss(None, residual()), lambda model: burgers(model, X)),
    "an equation beside data": (lambda: ig.InputGradientLoss("mse", residual()), lambda model: F.mse_loss(model(X), Y) + burgers(model, X)),
    "an equation elsewhere": (
        lambda: ig.InputGradientLoss("mse", [residual(), 2.0 * residual(ig.Given(EDGE)).named("edge")]),
        lambda model: F.mse_loss(model(X), Y) + burgers(model, X) + 2 * burgers(model, EDGE),
    ),
    "a critic's penalty": (
        lambda: ig.InputGradientLoss(None, 10.0 * ig.GradientNorm(center=1, power=2, at=ig.Given(OTHER))),
        lambda model: 10 * (first(model, OTHER)[2].norm(dim=1) - 1).square().mean(),
    ),
    "two places beside data": (
        lambda: ig.InputGradientLoss("mse", [ig.GradientNorm(power=2), ig.GradientNorm(power=2, at=ig.Given(OTHER)).named("there")]),
        lambda model: F.mse_loss(model(X), Y) + first(model, X)[2].square().sum(1).mean() + first(model, OTHER)[2].square().sum(1).mean(),
    ),
    "the label's gradient elsewhere": (
        lambda: ig.InputGradientLoss("mse", ig.GradientNorm(power=2, of="loss", at=ig.Given(OTHER))),
        lambda model: F.mse_loss(model(X), Y) + (2 * (model(OTHER) - Y) * first(model, OTHER)[2]).square().sum(1).mean(),
    ),
}


@pytest.mark.parametrize("jets", [False, True])
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_several_passes_is_the_textbooks(loss: str, kind: str, jets: bool, plain: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if jets:
        monkeypatch.setattr(plan, "LEAST_NUMBERS", {})
    make, by_hand = LOSSES[loss]
    criterion, model = make(), MODELS[kind]().double()
    wanted = gradients(model, by_hand(model))
    for _ in range(3):
        assert distance(gradients(model, criterion(model, X, Y)), wanted) < 1e-12
    model.zero_grad()
    step = criterion.backward(model, X, Y)
    assert distance({name: parameter.grad for name, parameter in model.named_parameters()}, wanted) < 1e-12
    torch.testing.assert_close(step.loss, by_hand(model).detach())
    assert plain == ["made"] * 3


def test_no_input_of_the_users_is_written_or_gets_a_gradient(plain: list[str]) -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x.clamp_(0.2, 0.8)
            return super().forward(x)

    model, x, before = Writes().double(), X.clone(), X.clone()
    criterion = ig.InputGradientLoss("mse", [residual(), ig.GradientNorm(at=ig.Given(other := OTHER.clone()))])
    for _ in range(4):
        criterion(model, x, Y).backward()
    assert torch.equal(x, before)
    assert torch.equal(other, OTHER)
    assert x.grad is None


class Draws(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * F.dropout(torch.ones(len(x), 1, dtype=x.dtype), 0.5)


class Counts(Net):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        return super().forward(x)


class Keeps(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(len(x))
        return super().forward(x)


class Shuffles(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + 0 * random.random())


class Holds(Net):
    def __init__(self) -> None:
        super().__init__()
        self.state = type("State", (), {"n": 0})()


class Averages(Net):
    """Running statistics in plain attributes, which torch's kernel writes on without counting it."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.var = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        F.batch_norm(x.detach(), self.mean, self.var, training=True)
        return super().forward(x - self.mean)


class Scaled(Net):
    def __init__(self) -> None:
        super().__init__()
        self.config = None
        self.register_buffer("scale", torch.tensor([1.0, 2.0]))
        self.shift, self.widths = torch.ones(2), [8, 8]

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.scale + self.shift)


def dropped() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))


def spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 8)), nn.Tanh(), nn.Linear(8, 1))


NONE, OTHERS = Traces(1), Traces(1, others=True)
RUNNING = frozenset(("1", name) for name in ("running_mean", "running_var", "num_batches_tracked"))
TRACES: dict[str, tuple[Callable[[], nn.Module], Traces]] = {
    **{kind.__name__: (kind, NONE) for kind in (Net, Scaled)},
    **{kind.__name__: (kind, OTHERS) for kind in (Counts, Keeps, Shuffles, Holds, Averages)},
    "Draws": (Draws, Traces(1, draws=True)),
    "dropout": (dropped, Traces(1, draws=True)),
    "dropout in evaluation": (lambda: dropped().eval(), NONE),
    "running statistics": (normed, Traces(1, buffers=RUNNING)),
    "running statistics in evaluation": (lambda: normed().eval(), NONE),
    "spectral norm": (spectral, Traces(1, buffers=frozenset(("0.parametrizations.weight.0", name) for name in ("_u", "_v")))),
    "spectral norm in evaluation": (lambda: spectral().eval(), NONE),
}


@pytest.mark.filterwarnings("ignore:module '1' .BatchNorm1d. couples")
@pytest.mark.parametrize("name", TRACES)
def test_what_passes_leave_behind_is_known(name: str, plain: list[str]) -> None:
    make, traces = TRACES[name]
    model = make().double()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2, at=ig.Given(OTHER)))
    for _ in range(3):
        criterion(model, X, Y).backward()
    assert replace(traces_of(model), looks=1) == traces
    assert plain == (["made"] * 2 if traces.can_be_undone else [])


@pytest.mark.filterwarnings("ignore:module '1' .BatchNorm1d. couples")
@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("loss", ["an equation", "two places beside data"])
def test_every_pass_starts_from_what_the_first_one_did_and_only_that_leaves_a_trace(name: str, loss: str) -> None:
    """Judged by the way in full, and by what one pass of a copy by itself leaves."""
    torch.manual_seed(0)
    make, _ = TRACES[name]
    model, criterion = make().double(), LOSSES[loss][0]()
    for step in range(4):
        fresh, alone = LOSSES[loss][0](), copy.deepcopy(model)
        fresh.verify_first_step = False
        torch.manual_seed(step)
        wanted = gradients(other := copy.deepcopy(model), fresh(other, X, Y))
        torch.manual_seed(step)
        found = gradients(model, criterion(model, X, Y))
        after = torch.rand(())
        assert distance(found, wanted) < 1e-10
        torch.manual_seed(step)
        alone(X)  # the first pass of either loss
        assert torch.equal(after, torch.rand(()))
        for key, buffer in alone.named_buffers():
            torch.testing.assert_close(model.get_buffer(key), buffer, rtol=1e-12, atol=0)


def test_a_model_that_counts_its_passes_counts_one_a_step() -> None:
    model = Counts().double()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2, at=ig.Given(OTHER)), verify=False)
    for _ in range(4):
        criterion(model, X, Y).backward()
    assert model.calls == 4


def test_after_a_change_of_the_mode_the_trace_is_looked_for_anew(plain: list[str]) -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1)).double().eval()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2, at=ig.Given(X)))
    for _ in range(3):
        criterion(model, X, Y).backward()
    assert plain == ["made"] * 2
    model.train()
    for _ in range(3):
        model.zero_grad()
        torch.manual_seed(0)
        step = criterion.evaluate(model, X, Y)
        torch.manual_seed(0)
        z = X.clone().requires_grad_()
        (g,) = torch.autograd.grad(model(z).sum(), z)
        torch.testing.assert_close(step.parts["gradient_norm"], g.square().sum(1).mean())  # on the same mask as the base loss
    assert plain == ["made"] * 4


class Noisy(Net):
    noise = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.noise * torch.randn_like(x) if self.noise else x)


def test_a_model_that_begins_to_draw_sees_the_same_numbers_in_all_passes(plain: list[str]) -> None:
    model = Noisy().double()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2, at=ig.Given(X)))
    for _ in range(3):
        criterion(model, X, Y).backward()
    assert plain == ["made"] * 2
    model.noise = 0.5
    for _ in range(3):
        torch.manual_seed(0)
        step = criterion.evaluate(model, X, Y)
        torch.manual_seed(0)
        z = X.clone().requires_grad_()
        u = model(z)
        torch.testing.assert_close(step.parts["base"], F.mse_loss(u, Y).detach())
        torch.testing.assert_close(step.parts["gradient_norm"], torch.autograd.grad(u.sum(), z)[0].square().sum(1).mean())
        drawn = torch.get_rng_state()
        torch.manual_seed(0)
        torch.randn_like(X)
        assert torch.equal(drawn, torch.get_rng_state()), "one pass's numbers are drawn"
    assert plain == ["made"] * 2 + ["UnforeseenError", "made", "made"]


@pytest.mark.parametrize(("coordinates", "points", "jets"), [(2, 64, False), (2, 1 << 14, True), (3, 64, False), (3, 1 << 12, True), (5, 64, True)])
def test_small_batches_are_differentiated_by_nesting(coordinates: int, points: int, jets: bool) -> None:
    model, names = layers(coordinates), "xyzwt"[:coordinates]
    x = torch.rand(points, coordinates)
    for _ in range(3):
        u = ig.field(model, x, names=names)
        r = u.d(names[0]) - u.laplacian(*names[1:])
    assert u._coordinates.source.by_taylor == jets
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
    second = sum(torch.autograd.grad(g[:, k].sum(), z, create_graph=True)[0][:, k] for k in range(1, coordinates))
    torch.testing.assert_close(r, g[:, 0] - second, atol=1e-5, rtol=1e-4)


class Grows(nn.Module):
    """SiLU, whose second derivative is ours where it is large."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("model", [Grows(), nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 1))])
def test_a_batch_that_grows_gets_derivatives_of_our_own(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    from inputgrad.derivatives import activations

    ours: list[int] = []
    monkeypatch.setattr("inputgrad.derivatives.twice_differentiable.LEAST", 64 * 64)
    real = activations.run
    monkeypatch.setattr(activations, "run", lambda *args: ours.append(0 if (found := real(*args)) is NotImplemented else len(found)) or found)
    criterion = ig.InputGradientLoss("mse", 0.1 * ig.GradientNorm(power=2))
    for size in (8, 8, 64, 64, 64):
        x, y = torch.randn(size, 2), torch.zeros(size, 1)
        ours.clear()
        found = gradients(model, criterion(model, x, y))
        _, u, g = first(model, x)
        assert distance(found, gradients(model, F.mse_loss(u, y) + 0.1 * g.square().sum(1).mean())) < 1e-5
        assert (max(ours, default=0) > 0) == (size == 64)


class Normalised(nn.Module):
    """By an operation that no function mode sees."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.ops.aten.layer_norm(torch.tanh(self.first(x)), [8]))


def test_a_normalisation_that_no_mode_sees_is_differentiated_rightly_at_each_step(plain: list[str]) -> None:
    model, criterion = Normalised().double(), ig.InputGradientLoss(None, ig.Residual(lambda u: u.d("xxt"), names="xt"))
    first = criterion(model, X).detach()
    for _ in range(3):
        torch.testing.assert_close(criterion(model, X).detach(), first, rtol=1e-12, atol=0)
    assert plain == ["made"] * 3


def test_a_dropout_that_is_switched_on_later_has_one_mask_a_step(plain: list[str]) -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), dropout := nn.Dropout(0.0), nn.Linear(8, 1)).double()
    criterion = ig.InputGradientLoss("mse", ig.GradientNorm(power=2, at=ig.Given(X)), verify=False)
    for _ in range(4):
        criterion(model, X, Y).backward()
    assert plain == ["made"] * 3
    dropout.p = 0.5
    for _ in range(3):
        torch.manual_seed(5)
        found = criterion(model, X, Y)
        torch.manual_seed(5)
        z = X.clone().requires_grad_()
        u = model(z)
        (g,) = torch.autograd.grad(u.sum(), z, create_graph=True)
        torch.testing.assert_close(found, F.mse_loss(u, Y) + g.square().sum(1).mean())


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(torch.cat([x, t], 1))


@pytest.mark.filterwarnings("ignore:.*couples the samples.*")
def test_running_statistics_move_once_a_step_where_a_pass_is_made_again_for_another_input() -> None:
    model, at = TwoInputs().double(), ig.Given((X, OTHER))
    terms = [ig.GradientNorm(power=2, at=at), ig.GradientNorm(power=2, wrt=1, at=at).named("second")]
    criterion = ig.InputGradientLoss(None, terms, verify=False)
    for step in range(4):
        criterion(model, (OTHER, X), Y).backward()
        assert int(model.layers[1].num_batches_tracked) == step + 1  # type: ignore[arg-type]  # a tensor


def test_a_head_of_an_inner_module_leaves_random_places_as_they_are(plain: list[str]) -> None:
    def make() -> ig.InputGradientLoss:
        return ig.InputGradientLoss(
            "mse", [ig.GradientNorm(power=2, at=ig.Uniform(0.0, 1.0)), ig.GradientNorm(of=ig.heads.Inner("0")).named("inner")], verify=False
        )

    model, criterion = layers().double(), make()
    for _ in range(3):
        torch.manual_seed(1)
        found = criterion(model, X, Y)
        torch.manual_seed(1)
        torch.testing.assert_close(found, make()(model, X, Y), rtol=1e-12, atol=0)
    assert plain == []


class Asks(ig.terms.Term):
    """Takes the gradient at random points, and that of an inner module while ``more`` is set."""

    more = False

    def __call__(self, batch: ig.Batch) -> Tensor:
        g = batch.gradient(at=ig.Uniform(0.0, 1.0))
        return g.square().sum(1) + (batch.gradient(of=ig.heads.Inner("0")).flatten(1).square().sum(1) if self.more else 0)


def test_what_places_have_drawn_is_put_back_where_the_full_way_draws_it_again(plain: list[str]) -> None:
    model, term = layers().double(), Asks()
    criterion = ig.InputGradientLoss("mse", term, verify=False)
    for step in range(4):
        term.more = step >= 2
        torch.manual_seed(1)
        found = criterion(model, X, Y)
        torch.manual_seed(1)
        torch.testing.assert_close(found, ig.InputGradientLoss("mse", term, verify=False)(model, X, Y), rtol=1e-12, atol=0)
    assert plain[:2] == ["made", "UnforeseenError"]


class WritesByData(Net):
    def forward(self, x: Tensor) -> Tensor:
        x.data.clamp_(0.3, 0.6)
        return super().forward(x)


def test_coordinates_are_those_that_were_given_though_the_model_writes_on_them_unseen() -> None:
    model, x = WritesByData().double(), X.clone()
    criterion = ig.InputGradientLoss(None, ig.Residual(lambda u: u.d("x") + u.coordinate("x") * u.value, names="xt"), verify=False)
    first = criterion(model, x).detach()
    for _ in range(3):
        torch.testing.assert_close(criterion(model, x).detach(), first, rtol=1e-12, atol=0)
    assert torch.equal(x, X)


@pytest.mark.parametrize("way", ["call", "backward"])
@pytest.mark.parametrize("loss", LOSSES)
def test_no_graph_waits_for_the_garbage_collector(loss: str, way: str) -> None:
    model, criterion = layers().double(), LOSSES[loss][0]()
    criterion(model, X, Y).backward()
    outputs: list[Any] = []
    model.register_forward_hook(lambda _module, _args, output: outputs.append(weakref.ref(output)))
    for _ in range(2):  # hooks were added
        criterion(model, X, Y).backward()
    gc.collect()
    gc.disable()
    try:
        outputs.clear()
        criterion(model, X, Y).backward() if way == "call" else criterion.backward(model, X, Y)
        assert outputs
        assert all(output() is None for output in outputs)
    finally:
        gc.enable()
