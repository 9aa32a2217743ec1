"""Constants and decisions inside a model, on every engine: detach, .data, numbers, conversions, remainders, norms, no_grad. Plain double backward is right."""

import copy
import math
from collections.abc import Callable
from typing import Any

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
        gate = gate * gate.mean(1, keepdim=True) + torch.stack([z, z.sin()]).sum(0)
    return z * gate


def _no_grad_decisions(z: Tensor) -> Tensor:
    with torch.no_grad():
        chosen = z.argmax(1, keepdim=True)
        side = (z > 0).to(z.dtype) + z.round() + z.relu()
        number = z.sum().item()
    return z.gather(1, chosen) * number + side * z.sin()


def _no_grad_written(z: Tensor) -> Tensor:
    with torch.no_grad():
        table = torch.zeros_like(z)
        table.copy_(z)
        table[:, 0] = z[:, 1]
        table += z
    return z * table


def _no_grad_handed_back(z: Tensor) -> Tensor:
    """Both are ``z`` itself, graph and all."""
    with torch.no_grad():
        same, too = z.contiguous(), z.to(z.dtype)
    return z * same + too.sin()


def _no_grad_asked(z: Tensor) -> Tensor:
    """What is asked of ``z`` decides nothing; the table is made of whole numbers, as rotary embeddings are."""
    with torch.no_grad():
        width, kind = z.size(1) + z.shape[-1] - z.numel() // len(z), z.dtype if z.is_floating_point() and z.device.type == "cpu" else None
        angles = torch.arange(width, dtype=kind).cos()
    return z * angles


def _no_grad_and_back(z: Tensor) -> Tensor:
    with torch.no_grad():
        first = z.cos()
        with torch.enable_grad():
            inner = z.sin()
        second = z.exp()
    return inner * first + second * z


def _hard_gumbel(z: Tensor) -> Tensor:
    torch.manual_seed(3)
    return F.gumbel_softmax(z, hard=True) * z + z.sin()


class _Softplus(torch.autograd.Function):
    """Its forward decides, detaches, asks for numbers, and turns gradients on and off: no such thing is a constant there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        with torch.enable_grad():
            again = x.detach().requires_grad_()
            large = again > 3
            value = torch.where(large, again, 0) + torch.where(large, 0, again).exp().log1p() * (~large) + torch.where(large, -again, 0).exp().log1p() * large
        with torch.no_grad():
            scale = float(x.abs().max() * 0) + 1.0
        return value.detach() * scale

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Tensor:
        return gradient[0] * ctx.saved_tensors[0].sigmoid()


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
    "no_grad": _no_grad,
    "no_grad_decisions": _no_grad_decisions,
    "no_grad_written": _no_grad_written,
    "no_grad_handed_back": _no_grad_handed_back,
    "no_grad_asked": _no_grad_asked,
    "no_grad_and_back": _no_grad_and_back,
    "normalize_at_zero": lambda z: F.normalize(torch.cat([z, z + 2], 1), p=1, dim=1)[:, :8] + z.sin(),
    "hard_gumbel": _hard_gumbel,
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


def _case_like(case: tuple[nn.Module, Tensor, Tensor], part: Callable[[Tensor], Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """The same parameters around another part."""
    model, x, target = case
    other = copy.deepcopy(model)
    other.part = part
    return other, x, target


@pytest.mark.parametrize("engine", TOLERANCE)
@pytest.mark.parametrize("part", PARTS)
def test_served(part: str, engine: str) -> None:
    case = _case(PARTS[part])
    expected = plain(*case)
    with told() as messages:
        assert distance(ours(*case, engine=engine), expected) < TOLERANCE[engine]
    assert messages == []


def test_the_forward_of_a_function_is_no_constant() -> None:
    case = _case(lambda z: _Softplus.apply(3 * z))
    expected = plain(*_case_like(case, lambda z: F.softplus(3 * z)))
    for engine in ("double_backward", "finite_difference"):
        with told() as messages:
            assert distance(ours(*case, engine=engine), expected) < TOLERANCE[engine]
        assert messages == []


def test_auto_takes_differences_where_constants_are_computed_under_no_grad() -> None:
    case = _case(lambda z: _no_grad(models._OnceSine.apply(z)))
    expected = plain(*_case_like(case, lambda z: _no_grad(z.sin())))
    with told() as messages:
        assert distance(ours(*case, engine="auto"), expected) < TOLERANCE["finite_difference"]
    assert "takes 'finite_difference'" in messages[0]


def _written(z: Tensor) -> Tensor:
    y = z.sin()
    with torch.no_grad():
        y.mul_(2)
    return y + z


def test_differences_say_that_they_do_not_see_what_is_written_under_no_grad() -> None:
    """A write behind autograd's back: to the value it counts, to the derivative it does not."""
    with told() as messages, pytest.raises(ig.EngineError, match="the backward pass of Edge is not the derivative of its forward pass"):
        ours(*_case(_written), engine="finite_difference")
    assert "what it writes under no_grad cannot be replayed" in messages[0]
    with pytest.raises(ig.EngineError, match=r"no engine supports this model.*once_differentiable.*what it writes under no_grad"):
        ours(*_case(lambda z: _written(models._OnceSine.apply(z))), engine="auto")
