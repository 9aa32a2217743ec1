"""What every rescue is checked against: the term's parameter gradient by plain double backward of a copy that has one. The copy imports nothing of ours."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import inputgrad as ig

WEIGHT = 0.3
EXACT, DIFFERENCES = 1e-10, 1e-6
TOLERANCE = {"double_backward": EXACT, "reverse_over_forward": EXACT, "finite_difference": DIFFERENCES}
WAYS = [(base, by_call) for base in (None, "mse") for by_call in (True, False)]
"""With a base loss and with the term alone; ``criterion(...).backward()`` and ``criterion.backward(...)``."""

Gradients = Sequence[Tensor | None]


def plain(model: nn.Module, x: Tensor, target: Tensor, base: str | None = None) -> list[Tensor | None]:
    """Textbook: g with its graph, and then ``backward``."""
    model.zero_grad()
    x = x.detach().clone().requires_grad_()
    output = model(x)
    (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    loss = WEIGHT * g.flatten(1).pow(2).sum(1).mean()
    if base:
        loss = loss + nn.functional.mse_loss(output, target)
    loss.backward()
    return [parameter.grad for parameter in model.parameters()]


def reference(model: nn.Module, x: Tensor, target: Tensor, base: str | None = None) -> list[Tensor | None]:
    """The same on the attention kernel that has a second derivative."""
    with sdpa_kernel(SDPBackend.MATH):
        return plain(model, x, target, base)


def ours(
    model: nn.Module, x: Tensor, target: Tensor, *, engine: "str | ig.engines.Engine", base: str | None = None, by_call: bool = True
) -> list[Tensor | None]:
    model.zero_grad()
    criterion = ig.InputGradientLoss(base, [WEIGHT * ig.GradientNorm(of="output", power=2)], engine=engine)
    if by_call:
        criterion(model, x, target).backward()
    else:
        criterion.backward(model, x, target)
    return [parameter.grad for parameter in model.parameters()]


def distance(found: Gradients, expected: Gradients) -> float:
    """‖found − expected‖ / ‖expected‖, absent gradients counted as zeros."""
    zero = torch.zeros(())
    pairs = [(zero if a is None else a, zero if b is None else b) for a, b in zip(found, expected, strict=True)]
    length = math.hypot(*[float(b.norm()) for _, b in pairs])
    assert length > 0
    return math.hypot(*[float((a - b).norm()) for a, b in pairs]) / length


@contextmanager
def told() -> Iterator[list[str]]:
    """The warnings of the library raised inside, as texts; every other warning is an error."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    for warning in caught:
        text = str(warning.message)
        if "couples the samples of a batch" in text or "`torch.jit" in text:  # batch normalisation, told anyway; torch.func.jvp's own use of torch.jit
            continue
        if warning.category is not UserWarning or "engine" not in text:
            raise AssertionError(f"an unexpected warning: {text}")
        messages.append(text)
