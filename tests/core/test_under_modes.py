"""Steps inside modes of the user's: counting operations, a `TorchDispatchMode` of their own, the profiler. Every engine, three steps each."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import inputgrad as ig
from inputgrad.engines import Compiled
from tests.traced import BACKEND


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "dispatch": Counting,
    "flops": lambda: FlopCounterMode(display=False),
    "profiler": lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]),
}
ENGINES = ["auto", "double_backward", "reverse_over_forward", "finite_difference", "weight_as_step", Compiled(backend=BACKEND)]
X, Y = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), torch.zeros(6, 1, dtype=torch.float64)


def gradients(engine: Any, around: Callable[[], AbstractContextManager[Any]], *, whole: bool) -> list[Tensor]:
    """After three steps, the backward pass inside the mode too or outside of it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 1)).double()
    criterion = ig.InputGradientLoss(nn.MSELoss(), 0.1 * ig.GradientNorm(power=2, of="loss"), engine=engine)
    for _ in range(3):
        with around():
            loss = criterion(model, X, Y)
            if whole:
                loss.backward()
        if not whole:
            loss.backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


class Nothing(AbstractContextManager[None]):
    def __exit__(self, *raised: object) -> None:
        return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.one_in(2)
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: getattr(engine, "name", engine))
def test_a_step_inside_a_mode_is_the_same(engine: Any, mode: str, whole: bool) -> None:
    torch.testing.assert_close(gradients(engine, MODES[mode], whole=whole), gradients(engine, Nothing, whole=whole), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_the_first_step_on_an_equation_is_verified_inside_a_mode(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels that a mode calls for autograd are no doing of the model's: none of their numbers is kept while the parameters move."""
    monkeypatch.delenv("INPUTGRAD_VERIFY", raising=False)
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    criterion = ig.InputGradientLoss(None, ig.recipes.poisson(source=1.0, names="xy"))
    with MODES[mode]():
        criterion(model, X[:, :2]).backward()


def test_the_operations_of_a_step_can_be_counted() -> None:
    """As many as those of the same lines by hand, first step apart."""
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    criterion = ig.InputGradientLoss(nn.MSELoss(), 0.1 * ig.GradientNorm(power=2))
    criterion(model, X, Y).backward()
    with FlopCounterMode(display=False) as ours:
        criterion(model, X, Y).backward()
    with FlopCounterMode(display=False) as by_hand:
        x = X.clone().requires_grad_()
        seen = x.clone()
        output = model(seen)
        (g,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        (nn.functional.mse_loss(output, Y) + 0.1 * g.square().sum(1).mean()).backward()
    assert ours.get_total_flops() == by_hand.get_total_flops() > 0
