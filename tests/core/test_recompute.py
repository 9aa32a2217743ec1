"""`DoubleBackward(recompute=True)`: the same numbers, bit for bit, of a graph that holds less."""

import copy
import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import inputgrad as ig
from inputgrad.engines import DoubleBackward
from inputgrad.errors import EngineError
from inputgrad.passes.recomputed.saving import Saved
from inputgrad.passes.recomputed.values import Recipe

LESS = DoubleBackward(recompute=True)


def mlp(depth: int = 3, activation: type[nn.Module] = nn.SiLU, width: int = 64) -> nn.Module:
    hidden = [layer for _ in range(depth) for layer in (nn.Linear(width, width), activation())]
    return nn.Sequential(*hidden, nn.Linear(width, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.SiLU(), nn.Dropout(0.3), nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.GELU()),
        *(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4, 3)),
    )


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, activation=F.gelu, batch_first=True, norm_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(), nn.Linear(16 * 5, 3))


class Two(nn.Module):
    """Two inputs, a checkpointed region, a hook that changes gradients, and a tensor that is written over."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 32), nn.Linear(5, 32), nn.Linear(32, 3)
        self.narrow, self.wide = nn.Linear(32, 1), nn.Parameter(torch.randn(400))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        h = torch.tanh(self.first(a)) * F.silu(self.second(b))
        h = h + checkpoint(lambda h: F.gelu(h.sin()), h, use_reentrant=False)
        if h.requires_grad:
            h.register_hook(lambda gradient: 2 * gradient)
        narrow = self.narrow(h)
        wide = (narrow + self.wide).sin()
        narrow *= 0
        return self.last(h) + wide.mean(1, keepdim=True) + narrow


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "mlp": (mlp, ((40, 64),)),
    "relu": (lambda: mlp(7, nn.ReLU), ((40, 64),)),
    "cnn": (cnn, ((12, 2, 8, 8),)),
    "transformer": (transformer, ((16, 5, 16),)),
    "two inputs": (Two, ((20, 8), (20, 5))),
}


def gradients(
    engine: Any, model: nn.Module, inputs: Any, target: Tensor, *, wrt: Any = 0, at_once: bool = False, around: AbstractContextManager[Any] | None = None
) -> list[Tensor]:
    """The parameter gradients and the buffers after two steps from the same random state."""
    model = copy.deepcopy(model)
    criterion = ig.InputGradientLoss(
        "cross_entropy", [0.1 * ig.GradientNorm(of="loss", power=2, wrt=wrt), 0.1 * ig.GradientNorm(of="output", wrt=wrt)], engine=engine
    )
    for _ in range(2):
        torch.manual_seed(1)
        with around or nullcontext():
            if at_once:
                criterion.backward(model, inputs, target)
            else:
                criterion(model, inputs, target).backward()
    return [p.grad for p in model.parameters() if p.grad is not None] + list(model.buffers())


def case(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Any, Tensor, Any]:
    torch.manual_seed(0)
    build, shapes = CASES[name]
    model, inputs = build().to(dtype), tuple(torch.randn(shape, dtype=dtype) for shape in shapes)
    one = len(inputs) == 1
    return model, inputs[0] if one else inputs, torch.randint(3, (shapes[0][0],)), 0 if one else [0, 1]


def same(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(map(torch.equal, found, expected))


@pytest.mark.filterwarnings("ignore:module .* couples the samples", "ignore:.* changes gradients on purpose")
@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_same_numbers(name: str, at_once: bool) -> None:
    model, inputs, target, wrt = case(name)
    expected = gradients("double_backward", model, inputs, target, wrt=wrt, at_once=at_once)
    found = gradients(LESS, model, inputs, target, wrt=wrt, at_once=at_once)
    if name == "two inputs":  # the checkpointed region's shares are added up in another order
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    else:
        assert same(found, expected)


def test_the_same_numbers_under_autocast() -> None:
    model, inputs, target, _ = case("transformer", torch.float32)
    half = torch.autocast("cpu", torch.bfloat16)
    expected = gradients("double_backward", model, inputs, target, around=half)
    assert same(gradients(LESS, model, inputs, target, around=half), expected)


def test_as_plain_torch_has_them() -> None:
    model, x, target, _ = case("mlp")
    z = x.clone().requires_grad_()
    output = model(z)
    losses = F.cross_entropy(output, target, reduction="none")
    (by_loss,) = torch.autograd.grad(losses.sum(), z, create_graph=True)
    (by_output,) = torch.autograd.grad(output.sum(), z, create_graph=True)
    total = losses.mean() + 0.1 * by_loss.square().sum(1).mean() + 0.1 * by_output.norm(dim=1).mean()
    expected = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
    found = gradients(LESS, model, x, target)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, 2 * other, rtol=1e-12, atol=1e-13)


def test_recipes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above would hold for an engine that makes nothing again."""
    model, inputs, target, _ = case("mlp")
    run = Recipe.run
    monkeypatch.setattr(Recipe, "run", lambda recipe, tensor_of: 2 * run(recipe, tensor_of))
    with pytest.raises(EngineError, match="cut off from the second derivative"):
        gradients(LESS, model, inputs, target)


class Living(TorchDispatchMode):
    """Bytes of the tensors that were made meanwhile and are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in [results] if isinstance(results, Tensor) else results if isinstance(results, tuple) else ():
            if isinstance(result, Tensor):
                storage = result.untyped_storage()
                self.made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return results

    def bytes(self) -> int:
        return sum(size for reference, size in self.made.values() if not reference.expired())


@pytest.mark.parametrize(("activation", "share"), [(nn.SiLU, 0.6), (nn.ReLU, 0.8), (nn.Tanh, 0.8)])
def test_the_graph_holds_less(activation: type[nn.Module], share: float) -> None:
    torch.manual_seed(0)
    model, x, target = mlp(12, activation), torch.randn(512, 64), torch.randint(3, (512,))
    held = []
    for engine in (DoubleBackward(), LESS):
        criterion = ig.InputGradientLoss("cross_entropy", [0.1 * ig.GradientNorm(of="loss", power=2)], engine=engine)
        criterion(model, x, target)
        with Living() as living:
            loss = criterion(model, x, target)
        held.append(living.bytes())
        loss.backward()
    assert held[1] < share * held[0]


@pytest.mark.parametrize(("activation", "passes"), [(nn.SiLU, 0.0), (nn.ReLU, 1.0)])
def test_it_costs_no_more_than_one_forward_pass(activation: type[nn.Module], passes: float) -> None:
    torch.manual_seed(0)
    model, x, target = mlp(12, activation), torch.randn(512, 64), torch.randint(3, (512,))
    with FlopCounterMode(display=False) as forward:
        model(x)
    counted = []
    for engine in (DoubleBackward(), LESS):
        criterion = ig.InputGradientLoss("cross_entropy", [0.1 * ig.GradientNorm(of="loss", power=2)], engine=engine)
        criterion(model, x, target)
        with FlopCounterMode(display=False) as flops:
            criterion.backward(model, x, target)
        counted.append(flops.get_total_flops())
    assert counted[1] <= counted[0] + passes * forward.get_total_flops()


def test_parameters_that_are_changed_before_the_backward_pass_are_an_error() -> None:
    model, inputs, target, _ = case("mlp")
    loss = ig.InputGradientLoss("cross_entropy", [ig.GradientNorm()], engine=LESS)(model, inputs, target)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_transforms_inside_a_model_are_refused() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.func.vmap(torch.func.grad(lambda z: self.layer(z).sin().sum()))(x)

    criterion = ig.InputGradientLoss("mse", [ig.GradientNorm()], engine=LESS)
    with pytest.raises(EngineError, match=r"transforms of torch\.func inside a model"):
        criterion(Inner(), torch.randn(3, 4), torch.randn(3, 4))


def test_nothing_is_kept_after_a_step() -> None:
    model, inputs, target, _ = case("relu")
    loss = ig.InputGradientLoss("cross_entropy", [ig.GradientNorm()], engine=LESS)(model, inputs, target)
    assert any(type(thing) is Saved for thing in gc.get_objects())
    loss.backward()
    assert not any(type(thing) is Saved for thing in gc.get_objects())
