"""When Taylor arithmetic is not used: whatever has no rule, hides from the rules, or means something else than the derivative of the forward pass.

In every case the result is that of nested reverse mode, and the reason is remembered.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from inputgrad import operators
from inputgrad.operators.taylor import questions
from inputgrad.operators.taylor.jet import Jet, NoRuleError, TaylorPass
from inputgrad.operators.taylor.layout import Layout
from inputgrad.operators.taylor.trust import remembered


class Reversal(torch.autograd.Function):
    """The identity, whose backward pass changes the sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * g


class Net(nn.Module):
    """Two layers, and something of the model's own between them."""

    def __init__(self, between: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.between = between
        self.first, self.last = nn.Linear(3, 6), nn.Linear(6, 2)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(x).tanh()).sin())


def under_no_grad(net: Net, h: Tensor) -> Tensor:
    with torch.no_grad():
        scale = h.exp()
    return h * scale


def written(net: Net, h: Tensor) -> Tensor:
    out = torch.zeros(len(h), 6, dtype=h.dtype)
    out[:, :3] = h[:, 3:]
    return out + h


def in_place_on_a_view(net: Net, h: Tensor) -> Tensor:
    h = h * 1
    view = h[:, :2]
    view.mul_(2.0)
    return h


def caught(net: Net, h: Tensor) -> Tensor:
    try:
        return torch.cumprod(h, 1)
    except Exception:
        return h


def keeping(net: Net, h: Tensor) -> Tensor:
    net.kept = h
    return h


def hooked(net: Net, h: Tensor) -> Tensor:
    h = h * 1
    h.register_hook(lambda g: 3 * g)
    return h


@torch.jit.script
def scripted(h: Tensor) -> Tensor:
    return h * h.sigmoid()


def own_gradient(net: Net, h: Tensor) -> Tensor:
    (g,) = torch.autograd.grad((h**3).sum(), h, create_graph=True)
    return g


REFUSED: dict[str, tuple[Callable[[Net, Tensor], Tensor], str]] = {
    "no rule": (lambda net, h: torch.cumprod(h, 1), "cumprod has no rule"),
    "reversal": (lambda net, h: Reversal.apply(h), "C\\+\\+|custom"),
    "custom function": (lambda net, h: Doubling.apply(h), "custom autograd.Function"),
    "no_grad": (under_no_grad, "no_grad"),
    "scripted": (lambda net, h: scripted(h), "C\\+\\+|Error"),
    "aten": (lambda net, h: torch.ops.aten.tanh(h), "tanh"),
    "writes on a constant": (written, "in place|__setitem__"),
    "in place on a view": (in_place_on_a_view, "in place"),
    "caught": (caught, "cumprod"),
    "kept": (keeping, "keeps a tensor"),
    "tensor hook": (hooked, "hook"),
    "own gradient": (own_gradient, "grad"),
    "checkpoint": (lambda net, h: checkpoint(torch.tanh, h, use_reentrant=False), "checkpoint"),
    "coupled": (lambda net, h: h * h.mean(0), "the samples depend on each other"),
    "coupled behind the first": (lambda net, h: torch.cat([h[:5], h[5:] * h[5:].mean(0)]), "the samples depend on each other"),
    "coupled with a shuffled batch": (lambda net, h: h + 0.1 * h.roll(1, 0), "the samples depend on each other"),
    "batch norm": (lambda net, h: F.batch_norm(h, None, None, training=True), "the samples depend on each other"),
    "permuted": (lambda net, h: h[torch.tensor([1, 0, 2, 3, 4, 5, 6, 7])[: len(h)]] if len(h) > 1 else h, "the samples depend on each other"),
    "recurrent": (lambda net, h: nn.GRUCell(6, 6).double().requires_grad_(False)(h) * 0 + h, "gru"),
}
SERVED: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "detach": lambda net, h: h * h.detach() + h.data,
    "straight through": lambda net, h: h + (h.round() - h).detach(),
    "numpy": lambda net, h: h * float(h.detach().numpy().mean() + 2) + torch.from_numpy(h.detach().numpy()),
    "branch": lambda net, h: h.exp() if h.sum() > 0 else h.sin(),
    "branch by item": lambda net, h: h * 2 if float(h.mean().item()) > -10 else h,
    "in place": lambda net, h: F.silu(h * 2, inplace=True).add_(1),
    "counting": lambda net, h: (net.count.add_(1), h)[1],
    "shapes": lambda net, h: h.view(h.size(0), -1) * h.shape[1] + torch.zeros_like(h) + h.new_ones(6) * h.ndim,
    "composite": lambda net, h: F.softmin(h, dim=1) + F.normalize(h, dim=1),
}


def points() -> Tensor:
    return torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_nesting(model: nn.Module, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(questions, "why_not", lambda *_: "switched off")
        return operators.laplacian(model, x)


def gradients(value: Tensor, model: nn.Module) -> list[Tensor]:
    found = torch.autograd.grad(value.square().sum(), list(model.parameters()), allow_unused=True)
    return [torch.zeros(()) if part is None else part for part in found]


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_falls_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    between, reason = REFUSED[name]
    model, x = Net(between).double(), points()
    torch.manual_seed(3)
    expected = by_nesting(model, x, monkeypatch)
    torch.manual_seed(3)
    found = operators.laplacian(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    for a, b in zip(gradients(found, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    (why,) = remembered(model).values()
    assert why is not None
    assert re.search(reason, why), why


@pytest.mark.parametrize("name", SERVED)
def test_what_has_a_rule_is_served(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = Net(SERVED[name]).double(), points()
    expected = by_nesting(model, x, monkeypatch)
    found = operators.laplacian(model, x)
    assert remembered(model) == {"laplacian": None}
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    for a, b in zip(gradients(found, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_an_operation_of_another_device_of_code_raises_on_a_jet_and_says_which() -> None:
    """The tensor has no numbers of its own: a kernel that is called past the rules cannot compute with the value alone."""
    run = TaylorPass(Layout(((0,),)))
    jet = Jet(torch.ones(2, 3), (torch.ones(1, 2, 3),), run)
    with pytest.raises(NoRuleError, match="called from C\\+\\+"), torch._C.DisableTorchFunctionSubclass():
        torch.tanh(jet)
    assert run.obstacle is not None
    run.is_open = False
    assert type(torch.tanh(jet)) is Tensor, "after the pass a tensor that a model has kept is an ordinary one"


def test_a_branch_that_was_not_compared_and_has_no_rule_falls_back_for_good() -> None:
    model = Net(lambda net, h: torch.cumprod(h, 1) if h.sum().item() > 0 else h.sin()).double()
    x = points()
    with torch.no_grad():
        model.first.bias.fill_(-5)
    operators.laplacian(model, x)
    assert remembered(model) == {"laplacian": None}
    with torch.no_grad():
        model.first.bias.fill_(5)
    with pytest.MonkeyPatch.context() as patch:
        expected = by_nesting(model, x, patch)
    torch.testing.assert_close(operators.laplacian(model, x), expected, rtol=1e-12, atol=1e-14)
    assert remembered(model) == {"laplacian": "cumprod has no rule"}
