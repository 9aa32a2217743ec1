"""Every rule of `passes.branches` against torch's own function: the value, and the derivative, while recording and while replaying; and in place."""

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.passes.branches.tape import BranchTape
from tests.rescue.served import TOLERANCE, distance, told

ORDERS = (0, 1, 1.5, 2, 3, math.inf)
OTHER = torch.linspace(-2, 2, 24, dtype=torch.float64).sin().view(6, 4)
"""Away from the other tensor, so that no order is singular."""
NORMS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "cdist": lambda x, p: torch.cdist(x, OTHER, p),
    "cdist_second": lambda x, p: torch.cdist(OTHER, x, p),
    "cdist_itself": lambda x, p: torch.cdist(x, x, p),
    "cdist_broadcast": lambda x, p: torch.cdist(x.view(5, 1, 2, 2), OTHER.view(4, 3, 2), p),
    "pdist": F.pdist,
    "pairwise_distance": lambda x, p: F.pairwise_distance(x, OTHER[:5], p),
    "pairwise_distance_keepdim": lambda x, p: torch.pairwise_distance(x, OTHER[:5], p=p, keepdim=True),
    "dist": lambda x, p: torch.dist(x, OTHER[:5], p),
    "norm": lambda x, p: torch.norm(x, p, 1),
    "norm_method": lambda x, p: x.norm(p),
    "linalg_norm": lambda x, p: torch.linalg.norm(x, p, 1, keepdim=True),
    "vector_norm": lambda x, p: torch.linalg.vector_norm(x, p, (0, 1)),
    "normalize": lambda x, p: F.normalize(x, p=max(p, 1), dim=0),
}
MATRIX_ORDERS = (1, -1, 2, math.inf, -math.inf, "fro", "nuc")
MATRICES: dict[str, Callable[[Tensor, Any], Tensor]] = {
    "matrix_norm": lambda x, p: torch.linalg.matrix_norm(x.view(5, 2, 2), p),
    "matrix_norm_keepdim": lambda x, p: torch.linalg.matrix_norm(x.view(5, 2, 2), p, (0, 2), keepdim=True),
    "linalg_norm_of_a_matrix": lambda x, p: torch.linalg.norm(x, p),
}
OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "median": lambda x: x.median(),
    "nanmedian": lambda x: x.nanmedian(),
    "median_of_rows": lambda x: x.median(1).values,
    "mode": lambda x: x.mode(1).values,
    "maximum_with_ties": lambda x: torch.maximum(x, x.relu()),
    "minimum_with_ties": lambda x: torch.minimum(x, x.relu()),
    "fmax_with_ties": lambda x: torch.fmax(x, x.relu()),
    "fmin_with_ties": lambda x: torch.fmin(x, x.relu()),
    "abs_at_zero": lambda x: (0 * x).abs() + x,
    "l1_at_zero": lambda x: F.l1_loss(x, x.detach(), reduction="none") + x,
    "softshrink_at_its_edge": lambda x: F.softshrink(0 * x + 0.5) + x,
    "hardshrink_at_its_edge": lambda x: F.hardshrink(0 * x - 0.5) + x,
    "copysign": lambda x: torch.copysign(x, torch.tensor(-1.0)),
    "clamp_whose_bounds_cross": lambda x: x.clamp(OTHER[:5].flip(0), OTHER[:5]) + x,
    "clamp_to_its_own": lambda x: x.clamp(x.flip(0) - 0.1, x.flip(1)),
    "grid_sampler_2d": lambda x: torch.grid_sampler_2d(OTHER.view(1, 1, 6, 4), x.view(1, 5, 2, 2), 0, 0, False),
    "grid_sampler_3d": lambda x: torch.grid_sampler_3d(OTHER.view(1, 1, 3, 2, 4), x[:, :3].reshape(1, 5, 1, 1, 3), 0, 1, True),
    "lp_pool": lambda x: F.lp_pool1d((x + 5).unsqueeze(1), 3, 2),
}
STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: getattr(torch, name) for name in ("sign", "sgn", "floor", "ceil", "round", "trunc", "fix")},
    **{f"{name}_": (lambda x, name=name: getattr(x.clone(), f"{name}_")()) for name in ("sign", "sgn", "floor", "ceil", "round", "trunc", "fix")},
    **{f"div_{mode}": (lambda x, mode=mode: torch.div(x, 3 * x.flip(0), rounding_mode=mode)) for mode in ("floor", "trunc")},
    "div_in_place": lambda x: x.clone().div_(0.3, rounding_mode="floor"),
    "copysign_of_the_other": lambda x: torch.copysign(OTHER[:5], x),
    "grid_of_nearest_pixels": lambda x: F.grid_sample(OTHER.view(1, 1, 6, 4), x.view(1, 5, 2, 2), mode="nearest", align_corners=False),
    "sgn_of_complex_numbers": lambda x: torch.view_as_real(torch.view_as_complex(x.view(5, 2, 2)).sgn()),
}
"""Constant between their jumps: torch says that the derivative is 0, not that there is none."""
CASES: dict[str, Callable[[Tensor], Tensor]] = {
    **{f"{name}-{p}": (lambda x, f=f, p=p: f(x, p)) for name, f in NORMS.items() for p in ORDERS},
    **{f"{name}-{p}": (lambda x, f=f, p=p: f(x, p)) for name, f in MATRICES.items() for p in MATRIX_ORDERS},
    **OTHERS,
    **STEPS,
}


@pytest.mark.parametrize("name", CASES)
def test_value_and_derivative_are_torchs(name: str) -> None:
    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    tape, runs = BranchTape(), [CASES[name](x)]
    for _ in range(2):
        with tape.run():
            runs.append(CASES[name](x))
    weights = torch.linspace(1, 2, runs[0].numel(), dtype=torch.float64).view(runs[0].shape)
    without_path = name.endswith("-0")  # norms of order 0: torch gives no derivative at all
    gradients = [
        torch.autograd.grad((weights * run).sum(), x, allow_unused=without_path, materialize_grads=without_path)[0]
        if run.requires_grad
        else torch.zeros_like(x)
        for run in runs
    ]
    for run, gradient in zip(runs[1:], gradients[1:], strict=True):
        assert run.requires_grad == runs[0].requires_grad
        torch.testing.assert_close(run, runs[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-10, atol=1e-10)


class Net(nn.Module):
    def __init__(self, part: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.part = nn.Linear(4, 8), nn.Linear(8, 2), part

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.part(self.first(x)).tanh())


def _gradients(model: nn.Module, x: Tensor, engine: str) -> list[Tensor | None]:
    torch.manual_seed(3)
    model.zero_grad()
    ig.InputGradientLoss(None, [ig.GradientNorm(power=2)], engine=engine)(model, x).backward()
    return [None if p.grad is None else p.grad.double() for p in model.parameters()]


def _in_place() -> dict[str, Callable[[], Callable[[Tensor], Tensor]]]:
    modules = {name: getattr(nn, name) for name in nn.modules.activation.__all__ if "inplace" in inspect.signature(getattr(nn, name)).parameters}
    activations = [name for name in dir(F) if hasattr(F, f"{name}_") and "inplace" in inspect.signature(getattr(F, name)).parameters]
    functions = {f"{name}_": getattr(F, f"{name}_") for name in activations}
    made = {name: (lambda kind=kind: kind(*((0.1, 20.0) if kind is nn.Threshold else ()), inplace=True)) for name, kind in modules.items()}
    called = {
        name: (lambda function=function: lambda z: function(z, *((0.1, 20.0) if "threshold" in function.__name__ else ())))
        for name, function in functions.items()
    }
    return {**made, **called}


IN_PLACE = _in_place()


def test_in_place_activations_are_found() -> None:
    assert {"ReLU", "Hardswish", "Hardsigmoid", "relu_", "hardtanh_", "rrelu_"} <= IN_PLACE.keys()


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_activations(name: str) -> None:
    torch.manual_seed(0)
    model, x = Net(IN_PLACE[name]()).double(), torch.randn(40, 4, dtype=torch.float64)
    expected = _gradients(model, x, "double_backward")
    with told() as messages:
        assert distance(_gradients(model, x, "finite_difference"), expected) < TOLERANCE["finite_difference"]
        assert distance(_gradients(copy.deepcopy(model).float(), x.float(), "finite_difference"), expected) < 5e-3
    assert messages == []


class Distances(nn.Module):
    def __init__(self, p: float, way: str) -> None:
        super().__init__()
        self.centres, self.last, self.p, self.way = nn.Parameter(torch.randn(60, 3)), nn.Linear(60, 1), p, way

    def forward(self, x: Tensor) -> Tensor:
        of = {"cdist": lambda: torch.cdist(x, self.centres, p=self.p), "pairwise": lambda: F.pairwise_distance(x[:, None], self.centres[None], p=self.p)}
        lengths = of[self.way]()
        return self.last(torch.exp(-lengths))


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("way", ["cdist", "pairwise"])
def test_distances_in_single_precision(p: float, way: str) -> None:
    """Against double backward of the same written out, in float64."""
    torch.manual_seed(0)
    model, x = Distances(p, way), torch.randn(200, 3)
    written = copy.deepcopy(model).double()
    written.forward = lambda x: written.last(torch.exp(-torch.linalg.vector_norm(x[:, None] - written.centres[None], p, -1)))  # type: ignore[method-assign]
    expected = _gradients(written, x.double(), "double_backward")
    with told() as messages:
        assert distance(_gradients(model, x, "finite_difference"), expected) < 2e-3
    assert messages == []


class Quantised(nn.Module):
    """Rounded to a grid in the middle, as in training for low precision."""

    def __init__(self, *, per_channel: bool) -> None:
        super().__init__()
        self.first, self.last, self.per_channel = nn.Linear(4, 6), nn.Linear(6, 2), per_channel

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.per_channel:
            return self.last(torch.fake_quantize_per_channel_affine(h, torch.full((6,), 0.1), torch.zeros(6, dtype=torch.int32), 1, -5, 5).sin())
        return self.last(torch.fake_quantize_per_tensor_affine(h, 0.1, 0, -5, 5).sin())


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_to_a_grid_is_straight_through_as_for_double_backward(per_channel: bool, dtype: torch.dtype) -> None:
    model, x = Quantised(per_channel=per_channel).to(dtype), torch.randn(8, 4, dtype=dtype)
    assert distance(_gradients(model, x, "finite_difference"), _gradients(model, x, "double_backward")) < 1e-3
