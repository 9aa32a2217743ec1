"""`F.grid_sample`: torch differentiates it twice (from 2.12 on); in differences the cell of a point is a branch decision, also on the line between two."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.passes.branches.grid_sample import grid_sample
from inputgrad.passes.branches.tape import BranchTape
from tests.rescue.served import DIFFERENCES, EXACT, WAYS, distance, ours, reference, told

SIDE = 5
KINDS = [(2, "bilinear"), (2, "bicubic"), (3, "bilinear")]
PADDINGS = ["zeros", "border", "reflection"]
TWICE = torch.__version__ >= "2.12"
"""Before, the kernel has no second derivative."""


class Warped(nn.Module):
    """An image read at the points that an affine map makes of the input: pixel coordinates, where every point lies on a line between two cells."""

    def __init__(self, dimensions: int, nudge: float = 1e-9, **settings: Any) -> None:
        super().__init__()
        self.dimensions, self.settings = dimensions, settings
        self.read: Callable[..., Tensor] = F.grid_sample
        self.image = nn.Parameter(torch.randn(1, 4, *[SIDE] * dimensions))
        self.warp = nn.Linear(dimensions, dimensions)
        self.head = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 3))
        with torch.no_grad():
            self.warp.weight.copy_(torch.eye(dimensions))
            self.warp.bias.fill_(nudge)

    def forward(self, x: Tensor) -> Tensor:
        grid = self.warp(x.unflatten(1, (-1, *[1] * (self.dimensions - 2), self.dimensions))).unsqueeze(0)
        read = self.read(self.image, grid, **self.settings)
        return self.head(read.flatten(3).mean(3).squeeze(0).T)


def _expected(model: Warped, aligned: bool, base: str | None = None) -> list[Tensor | None]:
    """By double backward: of torch's own kernel where it has a second derivative, else of the same written out in plain operations."""
    if not TWICE:
        with pytest.raises(RuntimeError, match=r"derivative for aten::grid_sampler_[23]d_backward is not implemented"):
            reference(model, *_batch(aligned), base)
        model = copy.deepcopy(model)
        model.read = _written_out
    return reference(model, *_batch(aligned), base)


def _written_out(*args: Any, **settings: Any) -> Tensor:
    with BranchTape().run():
        return F.grid_sample(*args, **settings)


def _batch(aligned: bool) -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    pixel = torch.randint(-2, SIDE + 2, (7, 6)).double()
    return (2 * pixel / (SIDE - 1) - 1 if aligned else (2 * pixel + 1) / SIDE - 1), torch.randn(7, 3).double()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dimensions", "mode"), KINDS)
def test_differences_are_right_on_a_line_and_between(dimensions: int, mode: str, padding: str, aligned: bool) -> None:
    for nudge in (1e-9, 0.13):  # on a line, and between lines
        model = Warped(dimensions, nudge, mode=mode, padding_mode=padding, align_corners=aligned).double()
        for base, by_call in WAYS[::3]:
            expected = _expected(model, aligned, base)
            with told() as messages:
                close = ours(model, *_batch(aligned), engine="finite_difference", base=base, by_call=by_call)
            assert messages == []
            assert distance(close, expected) < DIFFERENCES


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dimensions", "mode"), KINDS)
def test_auto_is_exact_where_torch_has_a_second_derivative(dimensions: int, mode: str, padding: str, aligned: bool) -> None:
    """Before torch 2.12 it takes differences and says so, once per model."""
    for nudge in (1e-9, 0.13):
        model = Warped(dimensions, nudge, mode=mode, padding_mode=padding, align_corners=aligned).double()
        with told() as messages:
            for base, by_call in WAYS[::3]:
                close = ours(model, *_batch(aligned), engine="auto", base=base, by_call=by_call)
                assert distance(close, _expected(model, aligned, base)) < (EXACT if TWICE else DIFFERENCES)
        assert [("takes 'finite_difference'" in text, "grid_sampler" in text) for text in messages] == ([] if TWICE else [(True, True)])


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize(("dimensions", "mode"), [*KINDS, (2, "nearest"), (3, "nearest")])
def test_written_out_it_is_what_the_kernel_computes(dimensions: int, mode: str, padding: str, aligned: bool) -> None:
    image, grid = torch.randn(2, 3, *[4, 5, 6][:dimensions]).double(), (3 * torch.rand(2, *[3] * dimensions, dimensions) - 1.5).double()
    settings = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    gradients = []
    for tape in (None, BranchTape()):
        leaves = [image.clone().requires_grad_(), grid.clone().requires_grad_()]
        if tape is None:
            result = F.grid_sample(*leaves, **settings)
        else:
            with tape.run():
                result = F.grid_sample(*leaves, **settings)
        gradients.append([result, *torch.autograd.grad(result.cos().sum(), leaves, allow_unused=True, materialize_grads=True)])
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


def test_the_numbered_form_is_seen_too() -> None:
    image, grid = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 3, 2)
    wanted = torch.grid_sampler(image, grid, 0, 1, True)
    with BranchTape().run():
        found = torch.grid_sampler(image, grid, 0, 1, True)
        by_name = torch.grid_sampler(input=image, grid=grid, interpolation_mode=0, padding_mode=1, align_corners=True)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(by_name, wanted)


def test_without_the_decision_the_difference_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The canary of the cases above: off by more than ten times the gradient, and noticed at the first step."""
    from inputgrad.passes.branches import tape as branches

    monkeypatch.setattr(branches, "RULES", {function: rule for function, rule in branches.RULES.items() if rule is not grid_sample})
    with pytest.raises(ig.EngineError, match="the backward pass of Warped is not the derivative of its forward pass"):
        ours(Warped(2, align_corners=True).double(), *_batch(True), engine="finite_difference")
