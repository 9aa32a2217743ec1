"""Constants and decisions inside a model, on every engine: detach, .data, numbers, conversions, remainders, norms, no_grad. Plain double backward is right."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from tests.rescue import models
from tests.rescue.served import TOLERANCE, distance, ours, plain, told

TABLE = torch.linspace(-1, 2, 160, dtype=torch.float64).sin().view(20, 8)


def _no_grad(z: Tensor) -> Tensor:
    with torch.no_grad():
        gate = z.sigmoid()
    return z * gate


PARTS: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda z: z * z.detach(),
    "torch_detach": lambda z: z * torch.detach(z),
    "data": lambda z: z * z.data,
    "straight_through": lambda z: (z.round() - z).detach() + z.sin(),
    "item": lambda z: z * z.sum().item(),
    "control_flow": lambda z: z.sin() * (2 if z[0, 0].item() > 0 else 3),
    "long": lambda z: TABLE[z[:, 0].add(5).long().clamp(0, 19)] + z.sin(),
    "to": lambda z: z.add(5).to(dtype=torch.int32).double() + z.sin(),
    "bucketize": lambda z: TABLE[torch.bucketize(z[:, 0].detach().contiguous(), torch.linspace(-2, 2, 9).double())] + z.sin(),
    "sgn": lambda z: z.sgn() + z.sin(),
    "fix": lambda z: torch.fix(z + 5) + z.sin(),
    "modulo": lambda z: z % 1.0 + z.sin(),
    "fmod": lambda z: torch.fmod(z + 5, 1.0) + z.sin(),
    "frac": lambda z: (z + 5).frac() + z.sin(),
    "div_floor": lambda z: torch.div(z, 0.5, rounding_mode="floor") + z.sin(),
    "vector_norm_1": lambda z: torch.linalg.vector_norm(z, 1, 1, keepdim=True) + z.sin(),
    "vector_norm_inf": lambda z: torch.linalg.vector_norm(z, math.inf, 1, keepdim=True) + z.sin(),
    "normalize_1": lambda z: F.normalize(z + 0.3, p=1, dim=1) + z.sin(),
    "cummax": lambda z: torch.cummax(z, 1).values + z.sin(),
}


class Edge(nn.Module):
    """Every unit of the first sample stands 1e-9 above zero, where whole numbers and signs are decided."""

    def __init__(self, part: Callable[[Tensor], Tensor], x: Tensor) -> None:
        super().__init__()
        self.first, self.part, self.last = nn.Linear(models.FEATURES, 8).double(), part, nn.Linear(8, 3).double()
        with torch.no_grad():
            self.first.bias.copy_(1e-9 - F.linear(x[0], self.first.weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.part(self.first(x))))


def _case(part: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    x = torch.randn(7, models.FEATURES, dtype=torch.float64)
    return Edge(part, x), x, torch.randn(7, 3, dtype=torch.float64)


@pytest.mark.parametrize("engine", TOLERANCE)
@pytest.mark.parametrize("part", PARTS)
def test_served(part: str, engine: str) -> None:
    case = _case(PARTS[part])
    expected = plain(*case)
    with told() as messages:
        assert distance(ours(*case, engine=engine), expected) < TOLERANCE[engine]
    assert messages == []


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward"])
def test_what_is_computed_under_no_grad_is_a_constant(engine: str) -> None:
    case = _case(_no_grad)
    assert distance(ours(*case, engine=engine), plain(*case)) < TOLERANCE[engine]


def test_differences_say_that_they_do_not_see_under_no_grad() -> None:
    with told() as messages:
        ours(*_case(_no_grad), engine="finite_difference")
    (message,) = messages
    assert "the branch decisions inside what it computes under no_grad cannot be replayed" in message


def test_auto_does_not_take_differences_there() -> None:
    model, x, target = _case(lambda z: _no_grad(models._OnceSine.apply(z)))
    with pytest.raises(ig.EngineError, match=r"no engine serves this model.*once_differentiable.*under no_grad"):
        ours(model, x, target, engine="auto")
