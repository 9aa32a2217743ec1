"""Decisions that a custom Function takes in its backward pass: no tape replays them, so differences say so; a mask that is saved is replayed."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig


class DecidingAgain(torch.autograd.Function):
    """A leaky ReLU whose backward pass looks at its input again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.2 * x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch's stub takes any number of gradients
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, gradient, 0.2 * gradient)


class Remembering(torch.autograd.Function):
    """The same with its mask saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mask = x > 0
        ctx.save_for_backward(mask)
        return torch.where(mask, x, 0.2 * x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return torch.where(mask, gradient, 0.2 * gradient)


class Deep(nn.Module):
    def __init__(self, activation: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last, self.activation = nn.Linear(8, 64), nn.Linear(64, 64), nn.Linear(64, 3), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.second(self.activation(self.first(x)))))


def step(activation: Any, engine: str) -> tuple[float, list[str]]:
    """How far the gradient is from that with torch's own leaky ReLU in float64, and what is said."""
    model, x = Deep(activation), torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine=engine, verify=False)(model, x).backward()
    twin, z = Deep(lambda h: nn.functional.leaky_relu(h, 0.2)).double(), x.double().requires_grad_()
    (g,) = torch.autograd.grad(twin(z).sum(), z, create_graph=True)
    wanted = torch.autograd.grad(g.square().sum(1).mean(), [twin.first.weight, twin.second.weight, twin.last.weight])
    found = [model.first.weight.grad, model.second.weight.grad, model.last.weight.grad]
    off = sum(float((a - b).square().sum()) for a, b in zip(found, wanted, strict=True))
    return (off / sum(float(b.square().sum()) for b in wanted)) ** 0.5, [str(item.message) for item in caught if item.category is UserWarning]


@pytest.mark.parametrize("engine", ["finite_difference", "double_backward"])
def test_a_mask_that_is_saved_is_replayed_in_silence(engine: str) -> None:
    off, told = step(Remembering.apply, engine)
    assert off < 1e-3
    assert told == []


def test_decisions_taken_again_in_the_backward_pass_are_told() -> None:
    off, told = step(DecidingAgain.apply, "finite_difference")
    assert off > 0.1  # what there is to tell
    assert len(told) == 1
    assert "the branch decisions inside the backward pass of a custom autograd.Function or a hook (by gt)" in told[0]
    off, told = step(DecidingAgain.apply, "double_backward")
    assert off < 1e-4
    assert told == []
