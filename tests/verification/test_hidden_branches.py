"""A wrong second derivative beside branches that no tape can hold fixed: found wherever another engine agrees with the value, in place of "not verified"."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import inputgrad as ig

X = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Detached(torch.autograd.Function):
    """tanh, whose backward uses a constant: the second derivative lacks a part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.y = x.detach().tanh()
        return ctx.y.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]  # one output
        return grad * (1 - ctx.y**2)


class Net(nn.Module):
    """tanh, or the function beside it that is said to be, and a companion."""

    def __init__(self, companion: "Companion", tanh: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c, self.tanh, self.companion = nn.Linear(3, 5), nn.Linear(5, 2), nn.Linear(3, 2), tanh, companion
        if companion is recurrent:
            self.rnn = nn.RNN(3, 2, nonlinearity="relu", batch_first=True)
        if companion is scripted:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit.script is deprecated
                self.script = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.companion(self, x)


Companion = Callable[[Net, Tensor], Tensor]


def scripted(net: Net, x: Tensor) -> Tensor:
    out: Tensor = net.b(net.tanh(net.a(x))) + net.script(x)
    return out


def recurrent(net: Net, x: Tensor) -> Tensor:
    out: Tensor = net.b(net.tanh(net.a(x))) + net.rnn(x[:, None])[0][:, 0]
    return out


def beside_a_checkpoint(net: Net, x: Tensor) -> Tensor:
    out: Tensor = net.b(net.tanh(net.a(x))) + checkpoint(lambda z: net.c(z).relu(), x, use_reentrant=False)
    return out


def in_a_checkpoint(net: Net, x: Tensor) -> Tensor:
    out: Tensor = net.b(checkpoint(lambda z: net.tanh(net.a(z)) * z.sum(1, keepdim=True), x, use_reentrant=False))
    return out


def writing(net: Net, x: Tensor) -> Tensor:
    h = net.a(x)
    with torch.no_grad():
        h.mul_(1.0)
    out: Tensor = net.b(net.tanh(h))
    return out


COMPANIONS = [scripted, recurrent, beside_a_checkpoint, in_a_checkpoint, writing]


def gradients(criterion: ig.InputGradientLoss, model: Net) -> list[Tensor]:
    """Of the layers that every companion has, at each of three steps the same."""
    found = []
    for _ in range(3):
        model.zero_grad()
        criterion(model, X).backward()
        found.append(torch.cat([layer.weight.grad.flatten() for layer in (model.a, model.b) if layer.weight.grad is not None]))
    return found


@pytest.mark.parametrize("head", ["output", ig.heads.EachOutput()], ids=["output", "each"])
@pytest.mark.parametrize("companion", COMPANIONS)
def test_a_wrong_second_derivative_is_found(companion: Companion, head: Any) -> None:
    def term() -> ig.terms.Term:
        return ig.GradientNorm(power=2, of=head)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted = gradients(ig.InputGradientLoss(None, term()), Net(companion, torch.tanh))[0]
    model = Net(companion, Detached.apply)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = gradients(ig.InputGradientLoss(None, term()), model)
    texts = [str(warning.message) for warning in told]
    assert any("engine 'double_backward' gives a wrong gradient for Net" in text and "takes 'finite_difference'" in text for text in texts)
    for each in found:
        torch.testing.assert_close(each, wanted, rtol=1e-6, atol=1e-8)
    with pytest.raises(ig.EngineError, match="engine 'double_backward' gives a wrong gradient"):
        ig.InputGradientLoss(None, term(), engine="double_backward")(model, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        table = ig.InputGradientLoss(None, term()).verify(model, X)
    status = {name: found if isinstance(found, str) else found.status for name, found in table.engines.items()}
    assert (status["double_backward"], status["finite_difference"]) == ("wrong", "verified")
