"""float16 under autocast with `torch.amp.GradScaler`: small input gradients reach the term, and an overflow skips the step."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.passes import precision
from tests.traced import BACKEND

ENGINES = {"double_backward": 3e-3, "finite_difference": 1e-2}
SMALL = 1e-7
"""Of the score's gradient: below the smallest number of float16 once per layer has been gone through."""


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 4))


def small(output: Tensor, _: object) -> Tensor:
    return (output.float() * SMALL).sum(1)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(16, 8, generator=generator), torch.randn(16, 4, generator=generator)


def error(engine: str) -> float:
    """Of the whole parameter gradient, unscaled, against float64."""
    criterion = ig.InputGradientLoss("mse", [1 / SMALL * ig.GradientNorm(of=small)], engine=engine)
    double, single, (x, y) = model().double(), model(), data()
    expected = torch.autograd.grad(criterion(double, x.double(), y.double()), list(double.parameters()), allow_unused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**6)
    with torch.autocast("cpu", torch.float16):
        loss = criterion(single, x, y)
    scaler.scale(loss).backward()
    optimizer = torch.optim.SGD(single.parameters(), lr=0.1)
    scaler.unscale_(optimizer)
    pairs = [(p.grad.double(), e) for p, e in zip(single.parameters(), expected, strict=True) if e is not None and p.grad is not None]
    off, size = (sum(float(part.square().sum()) for part in parts) ** 0.5 for parts in ((a - b for a, b in pairs), (b for _, b in pairs)))
    return off / size


@pytest.mark.parametrize("engine", ENGINES)
def test_a_small_input_gradient_does_not_underflow(engine: str) -> None:
    assert error(engine) < ENGINES[engine]


def test_without_the_scale_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.INPUT_GRADIENT_SCALE, "first", 1.0)
    assert not error("double_backward") < 0.1


def test_a_scale_that_is_too_large_is_lowered_and_kept() -> None:
    net, (x, y) = model(), data()
    large = ig.InputGradientLoss("mse", [1e-4 * ig.GradientNorm(of=lambda output, _: (output.float() * 1e3).sum(1))])
    with torch.autocast("cpu", torch.float16):
        loss = large(net, x, y)
    assert loss.isfinite()
    assert precision.INPUT_GRADIENT_SCALE.of(net) == precision.INPUT_GRADIENT_SCALE.first / precision.INPUT_GRADIENT_SCALE.step


def test_an_overflow_skips_the_step() -> None:
    """As usual: the scaler finds infinite gradients, leaves the weights, and lowers its scale."""
    net, (x, y) = model(), data()
    before = copy.deepcopy(net.state_dict())
    optimizer, scaler = torch.optim.SGD(net.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=2.0**30)
    criterion = nn.MSELoss() + 1e3 * ig.GradientNorm()
    skipped = 0
    for _ in range(40):
        scale = scaler.get_scale()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.float16):
            loss = criterion(net, x, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() == scale:
            break
        skipped += 1
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert 1 <= skipped < 40
    assert not torch.equal(net[0].weight, before["0.weight"])
    assert all(parameter.isfinite().all() for parameter in net.parameters())


class Widened(nn.Module):
    """A layer that computes in float32, whatever comes in: as RMS norms of language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        wide = h.float()
        return self.last(h * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6).to(h.dtype))


def test_float_is_a_conversion_and_no_number() -> None:
    """Under differences the conversion of a tensor was once taken for a Python number made of it, which is a constant."""
    torch.manual_seed(0)
    net, (x, _) = Widened(), data()
    found = {}
    for engine in ("double_backward", "finite_difference"):
        loss = ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine=engine)(net, x)
        found[engine] = torch.autograd.grad(loss, net.first.weight)[0]
    exact = found["double_backward"]
    assert (found["finite_difference"] - exact).norm() < 1e-3 * exact.norm()


SCALED = [
    "double_backward",
    "reverse_over_forward",
    "finite_difference",
    ig.engines.FiniteDifference("one_sided"),
    ig.engines.FiniteDifference("richardson"),
    "weight_as_step",
    ig.engines.Compiled(backend=BACKEND),
    "auto",
]


@pytest.mark.parametrize("engine", SCALED, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_scaler_in_one_call(engine: Any, dtype: torch.dtype) -> None:
    """The gradients of ``scaler.scale(loss).backward()``, scale and all; the loss without it."""
    found, losses, (x, y) = [], [], data()
    for at_once in (False, True):
        net, scaler = model(), torch.amp.GradScaler("cpu", init_scale=2.0**8)
        criterion = ig.InputGradientLoss("mse", [0.02 * ig.GradientNorm(of="loss", power=2)], engine=engine)
        with torch.autocast("cpu", dtype, enabled=dtype is torch.float16):
            loss = criterion.backward(net, x, y, scaler=scaler).loss if at_once else criterion(net, x, y)
        if not at_once:
            scaler.scale(loss).backward()
        losses.append(float(loss.detach()))
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert losses[0] == losses[1]
    plain = model()
    (criterion(plain, x, y) * 2.0**8).backward()
    expected = torch.cat([p.grad.flatten() for p in plain.parameters() if p.grad is not None])
    assert float((found[1] - expected).norm()) <= (2e-2 if dtype is torch.float16 else 1e-3) * float(expected.norm())
    assert float((found[0] - found[1]).norm()) <= (2e-3 if dtype is torch.float16 else 1e-5) * float(found[0].norm())


@pytest.mark.parametrize("engine", [engine for engine in SCALED if not isinstance(engine, ig.engines.Compiled)], ids=str)
def test_an_overflow_in_one_call_skips_the_step(engine: Any) -> None:
    net, (x, y) = model(), data()
    before = copy.deepcopy(net.state_dict())
    optimizer, scaler = torch.optim.SGD(net.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=2.0**30)
    with torch.autocast("cpu", torch.float16):
        ig.InputGradientLoss("mse", [0.02 * ig.GradientNorm(of="loss", power=2)], engine=engine).backward(net, x, y, scaler=scaler)
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() < 2.0**30
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_scaler_of_another_kind() -> None:
    with pytest.raises(TypeError, match=r"scaler must be a torch.amp.GradScaler or None, got float"):
        ig.InputGradientLoss("mse").backward(model(), *data(), scaler=1024.0)


def test_a_program_of_two_passes_serves_autocast(recwarn: pytest.WarningsRecorder) -> None:
    """Eager autocast casts a weight once for both passes, and adds their gradients in half; a trace does not. That is no reason to refuse it."""
    net, (x, y) = model(), data()
    criterion = ig.InputGradientLoss("mse", [ig.Adversarial(ig.FGSM(0.1))], engine=ig.engines.Compiled(backend=BACKEND))
    with torch.autocast("cpu", torch.bfloat16):
        criterion(net, x, y).backward()
    assert not [warning for warning in recwarn if "cannot serve" in str(warning.message)]
    double = model().double()
    exact = torch.autograd.grad(ig.InputGradientLoss("mse", [ig.Adversarial(ig.FGSM(0.1))])(double, x.double(), y.double()), list(double.parameters()))
    found, expected = (torch.cat([part.double().flatten() for part in parts]) for parts in ([p.grad for p in net.parameters() if p.grad is not None], exact))
    assert float((found - expected).norm()) < 2e-2 * float(expected.norm())


def deep() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 4))


def scaled_down(small: float, engine: Any) -> ig.InputGradientLoss:
    def base(output: Tensor, target: Tensor) -> Tensor:
        return small * (output - target).square().mean()

    return ig.InputGradientLoss(base, [0.1 * small * ig.GradientNorm(power=2)], engine=engine)


def written_out(small: float, x: Tensor, y: Tensor) -> Tensor:
    """Double backward in float64."""
    net, x, y = deep().double(), x.double().requires_grad_(), y.double()
    output = net(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    (small * (output - y).square().mean() + 0.1 * small * g.square().sum(1).mean()).backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def in_half(net: nn.Module, criterion: ig.InputGradientLoss, x: Tensor, y: Tensor, scale: float = 2.0**16) -> Tensor:
    net.zero_grad()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    with torch.autocast("cpu", torch.float16):
        loss = criterion(net, x, y)
    scaler.scale(loss).backward()
    return torch.cat([p.grad.double().flatten() for p in net.parameters() if p.grad is not None]) / scale


def many() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(256, 8, generator=generator), torch.randn(256, 4, generator=generator)


PROGRAM = ig.engines.Compiled(backend=BACKEND)
coupled = pytest.mark.filterwarnings("ignore:.*couples the samples")


@coupled
@pytest.mark.parametrize("small", [1.0, 1e-3])
def test_small_gradients_of_a_program_do_not_underflow(small: float) -> None:
    """A program has computed them before the scaler's scale comes: it has one of its own."""
    expected = written_out(small, *many())
    assert (in_half(deep(), scaled_down(small, PROGRAM), *many()) - expected).norm() < 5e-3 * expected.norm()


@coupled
def test_without_a_scale_those_of_a_program_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision.LOSS_SCALE, "first", 1.0)
    expected = written_out(1e-3, *many())
    assert not (in_half(deep(), scaled_down(1e-3, PROGRAM), *many()) - expected).norm() < 5e-2 * expected.norm()


@coupled
def test_a_scale_that_is_too_large_for_a_program_is_lowered_within_the_step() -> None:
    """A later batch overflows: the step is taken again, running statistics and all, and is no step more."""
    net, eager, (x, y) = deep(), deep(), many()
    program, plain = scaled_down(1.0, PROGRAM), scaled_down(1.0, "double_backward")
    first = precision.LOSS_SCALE.first
    for net_, criterion in ((net, program), (eager, plain)):
        in_half(net_, criterion, x, y, 1.0)
    kept = precision.LOSS_SCALE.of(net)
    found, expected = in_half(net, program, x, 1e4 * y, 1.0), in_half(eager, plain, x, 1e4 * y, 1.0)
    assert precision.LOSS_SCALE.of(net) < kept <= first
    assert (found - expected).norm() < 5e-3 * expected.norm()
    for a, b in zip(net.buffers(), eager.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@coupled
def test_a_program_that_overflows_without_a_scale_skips_the_step() -> None:
    net, (x, y), criterion = deep(), many(), scaled_down(1.0, PROGRAM)
    in_half(net, criterion, x, y)
    assert in_half(net, criterion, x, y).isfinite().all()
    assert not in_half(net, criterion, x, 1e9 * y).isfinite().all()
