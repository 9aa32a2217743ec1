"""Out of memory in a check of the first step comes out as it is: it says nothing about derivatives, and nothing is remembered of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.memory import memory
from tests.rescue.served import distance, ours, plain

TEXTS = {
    torch.OutOfMemoryError: "CUDA out of memory. Tried to allocate 2.00 GiB.",
    RuntimeError: "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes",
}


class Full:
    """Raises once, at the given backward pass of the slope of tanh or at the given run of the model."""

    def __init__(self, error: type[RuntimeError]) -> None:
        self.error, self.armed, self.runs = error, True, 0

    def raise_once(self) -> None:
        if self.armed:
            self.armed = False
            raise self.error(TEXTS[self.error])


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, full: Full, x: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(x, gradient)
        ctx.full = full
        return gradient * (1 - x.tanh() ** 2)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        ctx.full.raise_once()
        x, gradient = ctx.saved_tensors
        t = x.tanh()
        return None, outer[0] * gradient * (-2 * t * (1 - t * t)), outer[0] * (1 - t * t)


class _Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, full: Full, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.full = full
        return x.tanh()

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, _Slope.apply(ctx.full, ctx.saved_tensors[0], gradient[0])


class Net(nn.Module):
    """Memory runs out in its second derivative, or at its second run."""

    def __init__(self, full: Full, *, at_second_run: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)
        self.full, self.at_second_run = lambda: full, at_second_run  # behind a function: an object of the module is the same in each pass of a step

    def forward(self, x: Tensor) -> Tensor:
        full = self.full()
        full.runs += 1
        if self.at_second_run and full.runs == 2:
            full.raise_once()
        z = self.first(x)
        return self.last(z.tanh() if self.at_second_run else _Tanh.apply(full, z))


@pytest.mark.parametrize("error", TEXTS, ids=lambda error: error.__name__)
@pytest.mark.parametrize(
    ("engine", "at_second_run"),
    [("auto", False), ("double_backward", False), ("reverse_over_forward", True), ("finite_difference", True), ("compiled", True)],
)
def test_it_comes_out_and_the_next_step_is_right(engine: str, at_second_run: bool, error: type[RuntimeError]) -> None:
    model = Net(Full(error), at_second_run=at_second_run).double()
    x, target = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)
    with pytest.raises(error) as raised:
        ours(model, x, target, engine=engine)
    assert not isinstance(raised.value, ig.EngineError)
    assert str(raised.value) == TEXTS[error]
    assert memory(model).engine is None
    if engine != "compiled":  # compiling takes seconds
        assert distance(ours(model, x, target, engine=engine), plain(model, x, target)) < 1e-6
