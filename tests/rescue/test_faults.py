"""A fault of memory or of the device at any operation of the first step comes out as it is, and the next step is made as if there had been none."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import inputgrad as ig
from inputgrad.memory import memory
from tests.rescue.served import distance

FAULTS: tuple[Callable[[], Exception], ...] = (
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("CUDA error: an illegal memory access was encountered"),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000000 bytes"),
    lambda: MemoryError(),
)


@pytest.fixture(autouse=True)
def _verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check of the first step, which this folder goes without."""
    monkeypatch.setenv("INPUTGRAD_VERIFY", "1")


class FaultAt(TorchDispatchMode):
    """Raises at the n-th operation, once; counts them."""

    def __init__(self, number: int, fault: Exception | None) -> None:
        super().__init__()
        self._number, self._fault, self.count = number, fault, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count == self._number and self._fault is not None:
            raise self._fault
        return func(*args, **(kwargs or {}))


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (1 - ctx.saved_tensors[0].tanh().square())


class Once(nn.Module):
    """Has no second derivative: "auto" takes differences."""

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Once.apply(x)
        return result


def smooth() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)).double()


def once() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), Once(), nn.Linear(8, 3)).double()


def equation() -> Any:
    return ig.Residual(lambda u: u.laplacian().sum(1), names="abcd")


def tanh() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


CASES = [
    *((engine, smooth, ig.GradientNorm) for engine in ("auto", "double_backward", "reverse_over_forward", "finite_difference")),
    ("auto", smooth, lambda: ig.GradientNorm(of="label")),
    ("auto", smooth, ig.SpectralNorm),
    ("auto", once, ig.GradientNorm),
    ("auto", tanh, equation),
    ("weight_as_step", tanh, lambda: ig.GradientNorm(of="loss", power=1)),
]
NAMES = ["auto", "double_backward", "reverse_over_forward", "finite_difference", "label", "spectral", "without second derivative", "equation", "weight_as_step"]


def first_step(number: int, fault: Exception | None, engine: str, model: Callable[[], nn.Module], term: Callable[[], Any]) -> tuple[int, Any]:
    """The operations of a first step, and what a second one on a smaller batch takes and gives; raises what the first step does not let through."""
    torch.manual_seed(0)
    made, x, target = model(), torch.randn(5, 4, dtype=torch.float64), torch.randint(3, (5,))
    criterion = ig.InputGradientLoss(nn.CrossEntropyLoss(), 0.1 * term(), engine=engine)
    with FaultAt(number, fault) as watch:
        try:
            criterion(made, x, target).backward()
            assert fault is None, f"operation {number}: {fault!r} did not come out"
        except Exception as error:
            if error is not fault:
                raise
    made.zero_grad()
    torch.manual_seed(2)
    criterion(made, x[:2], target[:2]).backward()
    taken = memory(made).engine
    return watch.count, (taken[1] if taken else None, [parameter.grad for parameter in made.parameters()])


def tried(points: int, case: tuple[str, Any, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count, (engine, gradients) = first_step(0, None, *case)
        step = max(1, count // points)
        for turn, number in enumerate(range(step, count, step)):
            _, (taken, found) = first_step(number, FAULTS[turn % len(FAULTS)](), *case)
            assert taken == engine, number
            assert distance(found, gradients) < 1e-12, number


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_it_comes_out_and_nothing_is_remembered_of_it(case: tuple[str, Any, Any]) -> None:
    tried(2, case)


@pytest.mark.study
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_so_it_is_at_every_fifth_operation(case: tuple[str, Any, Any]) -> None:
    tried(400, case)


def test_verification_says_how_it_is_switched_off() -> None:
    torch.manual_seed(0)
    fault = FAULTS[0]()
    with pytest.raises(torch.OutOfMemoryError) as raised, FaultAt(400, fault):
        ig.InputGradientLoss("cross_entropy", ig.GradientNorm())(smooth(), torch.randn(5, 4, dtype=torch.float64), torch.randint(3, (5,)))
    assert raised.value is fault
    assert any("INPUTGRAD_VERIFY=0" in note for note in raised.value.__notes__)
