"""After the first step verification makes no operation of torch's, and a few calls of Python's that do not depend on the model's size."""

import sys
from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import inputgrad as ig


class Operations(TorchDispatchMode):
    """Counts the operations below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def third_step(engine: str, *, verify: bool, layers: int = 1) -> tuple[Counter[str], Counter[str]]:
    """The operations and the calls of the third step."""
    torch.manual_seed(0)
    hidden = [layer for _ in range(layers) for layer in (nn.Linear(12, 12), nn.SiLU())]
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.2), *hidden, nn.Linear(12, 3))
    x, y = torch.randn(10, 6), torch.randint(3, (10,))
    criterion = ig.InputGradientLoss("cross_entropy", 0.1 * ig.GradientNorm(power=2, of="loss"), engine=engine, verify=verify)
    for _ in range(3):
        criterion(model, x, y).backward()
        model.zero_grad()
    operations, calls = Operations(), Counter[str]()

    def called(frame: Any, event: str, _argument: Any) -> None:
        if event == "call":
            calls[f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}"] += 1

    with operations:
        criterion(model, x, y).backward()
    sys.setprofile(called)
    try:
        criterion(model, x, y).backward()
    finally:
        sys.setprofile(None)
    return operations.seen, calls


@pytest.mark.parametrize("engine", ["auto", "double_backward", "finite_difference", "reverse_over_forward", "weight_as_step"])
def test_steps_after_the_first_cost_nothing(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INPUTGRAD_VERIFY", raising=False)
    with_operations, with_calls = third_step(engine, verify=True)
    operations, calls = third_step(engine, verify=False)
    assert with_operations == operations
    assert sum(operations.values()) > 20
    assert (with_calls - calls).total() < 80, "one look over the modules"


def test_they_cost_as_little_with_a_large_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INPUTGRAD_VERIFY", raising=False)
    extra = [(third_step("auto", verify=True, layers=layers)[1] - third_step("auto", verify=False, layers=layers)[1]).total() for layers in (1, 20)]
    assert extra[0] == extra[1]


class Kernel(torch.autograd.Function):
    """A sine with a first derivative only."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


class Switched(nn.Module):
    """Runs a kernel where a flag is set, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        self.use_kernel, self.calls = False, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        z = self.net(x)
        return Kernel.apply(z) if self.use_kernel else z.sin()


def test_a_flag_that_is_set_between_two_steps_makes_another_form() -> None:
    torch.manual_seed(0)
    model, x = Switched(), torch.randn(6, 4, dtype=torch.float64)
    criterion = ig.InputGradientLoss(None, ig.GradientNorm(power=2))
    z = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(z).sum(), z, create_graph=True)
    wanted = torch.autograd.grad(g.square().sum(1).mean(), model.net[0].weight)[0]
    for step, flag in enumerate((False, False, True, True, False)):
        model.use_kernel, model.net[0].weight.grad = flag, None
        with pytest.warns(UserWarning, match="engine='finite_difference'") if step == 2 else nullcontext():
            criterion(model, x).backward()
        torch.testing.assert_close(model.net[0].weight.grad, wanted, rtol=1e-6, atol=1e-9)
    model.use_kernel = True
    named = ig.InputGradientLoss(None, ig.GradientNorm(power=2), engine="double_backward")
    with pytest.raises(ig.EngineError, match="once_differentiable"):
        named(model, x)
