"""Steps under autocast on the pretended device: the numbers of autocast on the CPU, and no wait but the one that float16 is for."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.devices.pretended import backend
from tests.devices.pretended.checks import batch, check, events_of_the_last

EXACT, DIFFERENCES = ("auto", "double_backward", "reverse_over_forward"), ("finite_difference", "weight_as_step")
READ = ("wait: to the CPU", "devices.py:numbers")
OVERFLOW = ("wait: _local_scalar_dense", "passes/precision.py:all_finite")
"""Gradients under float16 are taken of a scaled number; whether that overflowed is looked at once for each input gradient."""


def two_layers() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))


class Moving(nn.Module):
    """Takes inputs of the CPU to the device of its parameters, and gives an output in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.body = two_layers()

    def forward(self, x: Tensor) -> Any:
        return self.body(x.to(self.body[0].weight.device)).float()


def small(output: Tensor, target: Any) -> Tensor:
    """A score whose input gradient is below the smallest number of float16."""
    return 1e-7 * output.sum(1)


def gradient(
    engine: str, device: torch.device, lower: torch.dtype, model: nn.Module, inputs: torch.device, of: Any = "loss"
) -> tuple[Tensor, set[tuple[str, str]]]:
    """Of the third step, and what the host waited for in it; the backward pass stands outside, as torch asks."""
    terms = 0.3 * ig.GradientNorm(of="loss") if of == "loss" else 1e12 * ig.GradientNorm(of=of, power=2)
    model, criterion = copy.deepcopy(model).to(device), ig.InputGradientLoss("mse" if of == "loss" else None, terms, engine=engine)
    x, y = (z.to(place) for z, place in zip(batch(), (inputs, device), strict=True))

    def step() -> None:
        model.zero_grad()
        with torch.autocast(device.type, lower):
            loss = criterion(model, x, y)
        loss.backward()

    events = events_of_the_last(step)
    return torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]), set(events)


@check
def autocast_gives_what_it_gives_on_the_cpu() -> None:
    for lower in (torch.bfloat16, torch.float16):
        allowed = {OVERFLOW} if lower is torch.float16 else set()
        for engine in (*EXACT, *DIFFERENCES):
            expected, _ = gradient(engine, backend.CPU, lower, two_layers(), backend.CPU)
            found, events = gradient(engine, backend.DEVICE, lower, two_layers(), backend.DEVICE)
            assert float((found - expected).norm() / expected.norm()) <= (2e-3 if engine in DIFFERENCES else 1e-6), (engine, lower)
            assert events <= allowed | ({READ} if engine in DIFFERENCES else set()), (engine, lower, events)


@check
def autocast_is_that_of_the_model_where_it_moves_its_inputs() -> None:
    for engine in EXACT:
        for of in ("loss", small):
            expected, _ = gradient(engine, backend.DEVICE, torch.float16, Moving(), backend.DEVICE, of)
            found, _ = gradient(engine, backend.DEVICE, torch.float16, Moving(), backend.CPU, of)
            assert expected.norm() > 0
            assert float((found - expected).norm() / expected.norm()) <= 1e-6, (engine, of)
