"""Models whose backward pass is not the derivative of their forward pass: hooks that return another gradient, Functions whose jvp and backward disagree.

What such a model means is what plain double backward does. Forward mode does not run a backward pass, so `reverse_over_forward` objects, and `auto` does not
take it. What only looks on (a hook that records) changes nothing, and is served.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.rescue.served import EXACT, distance, ours, plain

pytestmark = pytest.mark.filterwarnings("ignore:.*changes gradients on purpose:UserWarning")  # what the first step says of plain double backward there

CHANGED = "changes its gradients in the backward pass"
Hook = Callable[[Tensor], Tensor | None]


def _doubled(g: Tensor) -> Tensor:
    return 2 * g


def _clipped(g: Tensor) -> Tensor:
    return g.clamp(-0.05, 0.05)


def _seen(g: Tensor) -> None:
    assert g.isfinite().all()


class Hooked(nn.Module):
    """Two layers; ``place`` puts the hook on a tensor, a module or a node of the graph."""

    def __init__(self, place: str, hook: Hook) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.place, self.hook = place, hook
        if place == "module":
            self.put_on_module()

    def put_on_module(self) -> None:
        def on_module(_module: nn.Module, of_inputs: Any, _of_outputs: Any) -> Any:
            changed = tuple(None if g is None else self.hook(g) for g in of_inputs)
            return None if changed[0] is None else changed

        self.last.register_full_backward_hook(on_module)

    def forward(self, x: Tensor) -> Tensor:
        z = self.first(x).tanh()
        if self.place == "tensor" and z.requires_grad:
            z.register_hook(self.hook)
        if self.place == "node" and z.grad_fn is not None:
            z.grad_fn.register_prehook(lambda gs: tuple(self.hook(g) for g in gs) if self.hook is not _seen else None)
        return self.last(z)


def _batch() -> tuple[Tensor, Tensor]:
    return torch.randn(7, 6, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)


@pytest.mark.parametrize("hook", [_doubled, _clipped])
@pytest.mark.parametrize("place", ["tensor", "module", "node"])
def test_hooks_that_return_another_gradient_are_refused(place: str, hook: Hook) -> None:
    model, batch = Hooked(place, hook).double(), _batch()
    with pytest.raises(ig.EngineError, match=CHANGED):
        ours(model, *batch, engine="reverse_over_forward")
    for engine in ("auto", "double_backward"):
        assert distance(ours(model, *batch, engine=engine), plain(model, *batch)) < EXACT


@pytest.mark.parametrize("place", ["tensor", "module", "node"])
def test_hooks_that_only_look_on_are_served(place: str) -> None:
    model, batch = Hooked(place, _seen).double(), _batch()
    assert distance(ours(model, *batch, engine="reverse_over_forward"), plain(model, *batch)) < EXACT


def test_a_hook_that_comes_later_is_refused_from_then_on() -> None:
    model, batch = Hooked("nowhere", _doubled).double(), _batch()
    assert distance(ours(model, *batch, engine="reverse_over_forward"), plain(model, *batch)) < EXACT
    model.put_on_module()
    with pytest.raises(ig.EngineError, match=CHANGED):
        ours(model, *batch, engine="reverse_over_forward")


def test_a_hook_that_needs_a_graph_is_named() -> None:
    class Unconditional(Hooked):
        def forward(self, x: Tensor) -> Tensor:
            z = self.first(x)
            z.register_hook(self.hook)
            return self.last(z)

    with pytest.raises(ig.EngineError, match="puts a hook on a gradient"):
        ours(Unconditional("here", _doubled).double(), *_batch(), engine="reverse_over_forward")


class Sine(torch.autograd.Function):
    """sin, whose backward pass is multiplied by ``of_backward`` and whose tangent by ``of_jvp``."""

    @staticmethod
    def forward(z: Tensor, of_backward: float, of_jvp: float) -> Tensor:
        return z.sin()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        z, ctx.of_backward, ctx.of_jvp = inputs
        ctx.save_for_backward(z)
        ctx.save_for_forward(z)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return ctx.of_backward * g * ctx.saved_tensors[0].cos(), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return ctx.of_jvp * tangent * ctx.saved_tensors[0].cos()


class Customised(nn.Module):
    def __init__(self, of_backward: float, of_jvp: float) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)
        self.factors = of_backward, of_jvp

    def forward(self, x: Tensor) -> Tensor:
        return self.last(Sine.apply(self.first(x), *self.factors))


@pytest.mark.parametrize("factor", [1.0, -0.5])
def test_a_function_whose_jvp_and_backward_agree_is_served(factor: float) -> None:
    """Gradient reversal too: both sides mean the same."""
    model, batch = Customised(factor, factor).double(), _batch()
    assert distance(ours(model, *batch, engine="reverse_over_forward"), plain(model, *batch)) < EXACT


@pytest.mark.parametrize("factors", [(1.0, 1.05), (-1.0, 1.0), (1.0, 0.0)])
def test_a_function_whose_jvp_and_backward_disagree_is_refused(factors: tuple[float, float]) -> None:
    model, batch = Customised(*factors).double(), _batch()
    with pytest.raises(ig.EngineError, match=CHANGED):
        ours(model, *batch, engine="reverse_over_forward")
    assert distance(ours(model, *batch, engine="auto"), plain(model, *batch)) < EXACT


def test_a_gradient_of_rounding_size_is_no_disagreement() -> None:
    """The sum of a softmax is constant: both passes give noise."""

    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x).softmax(1)

    for dtype in (torch.float32, torch.float64):
        ours(Noise().to(dtype), *[part.to(dtype) for part in _batch()], engine="reverse_over_forward")
