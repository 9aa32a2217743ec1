"""What no tape and no mode can see: `auto` refuses or takes an exact engine, and who is named all the same says what may be wrong."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from tests.rescue import models
from tests.rescue.served import DIFFERENCES, EXACT, distance, ours, plain, reference, told


def _batch() -> tuple[Tensor, Tensor]:
    return torch.randn(7, models.FEATURES, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)


def test_a_checkpointed_relu_is_refused_by_auto() -> None:
    """Its units decide again in the backward pass, where nothing is replayed."""
    model = models.Checkpointed(nn.ReLU, reentrant=True).double()
    with pytest.raises(ig.EngineError, match="branch decisions inside a checkpointed region cannot be replayed") as refused:
        ours(model, *_batch(), engine="auto")
    assert "checkpoint(..., use_reentrant=False) can be differentiated twice" in str(refused.value)


def test_a_checkpointed_relu_is_warned_of_by_differences() -> None:
    model = models.Checkpointed(nn.ReLU, reentrant=True).double()
    with told() as messages:
        ours(model, *_batch(), engine="finite_difference")
    (message,) = messages
    assert "the branch decisions inside a checkpointed region cannot be replayed" in message


@pytest.mark.parametrize("engine", ["auto", "double_backward", "reverse_over_forward"])
def test_fused_relu_branches_are_left_to_the_exact_engines(engine: str) -> None:
    model, batch = models.Recurrent(nn.RNN, nonlinearity="relu").double(), _batch()
    expected = plain(model, *batch)
    assert distance(ours(model, *batch, engine=engine), expected) < EXACT


def test_fused_relu_branches_are_warned_of_by_differences() -> None:
    with told() as messages:
        ours(models.Recurrent(nn.RNN, nonlinearity="relu").double(), *_batch(), engine="finite_difference")
    (message,) = messages
    assert "the branch decisions inside cell (RNN with ReLU: one fused kernel) cannot be replayed" in message


def test_fused_relu_branches_are_not_taken_by_auto() -> None:
    """Where nothing exact is left, auto refuses."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = models.Once(), models.Recurrent(nn.RNN, nonlinearity="relu")
            self.lift = nn.Linear(3, models.FEATURES)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.lift(self.first(x)))

    with pytest.raises(ig.EngineError, match=r"no engine supports this model.*once_differentiable.*RNN with ReLU: one fused kernel"):
        ours(Both().double(), *_batch(), engine="auto")


def test_once_differentiable_as_the_last_operation() -> None:
    """Plain torch raises nothing there and is silently wrong."""
    model, batch = models.Once(at_the_end=True).double(), _batch()
    wrong = plain(model, *batch)
    model.hindered = False
    expected = reference(model, *batch)
    model.hindered = True
    assert distance(wrong, expected) > 0.05
    with told() as messages:
        assert distance(ours(model, *batch, engine="auto"), expected) < DIFFERENCES
    assert "once_differentiable" in messages[0]
    with pytest.raises(ig.EngineError, match="once_differentiable"):
        ours(model, *batch, engine="double_backward")


def test_flex_attention_on_the_cpu() -> None:
    """From torch 2.13 on it trains no such model on the CPU: the model's own error stays what it is. Before, it has first derivatives there."""
    from torch.nn.attention.flex_attention import flex_attention

    class Flex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.head = nn.Linear(models.WIDTH, 48), nn.Linear(16, 3)
            self.attention: Callable[..., Any] = flex_attention

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.project(x).unflatten(-1, (3, 1, 16)).permute(2, 0, 3, 1, 4)
            return self.head(self.attention(q, k, v).transpose(1, 2).flatten(2)).mean(1)

    model, batch = Flex().double(), (torch.randn(5, models.TOKENS, models.WIDTH).double(), torch.randn(5, 3).double())
    if torch.__version__ >= "2.13":
        with pytest.raises(NotImplementedError, match="FlexAttention does not support backward on CPU"):
            ours(model, *batch, engine="auto")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ours(model, *batch, engine="auto")
    assert any("once_differentiable" in text and "takes 'finite_difference'" in text for text in (str(warning.message) for warning in caught))
    model.attention = F.scaled_dot_product_attention
    assert distance(found, reference(model, *batch)) < DIFFERENCES
