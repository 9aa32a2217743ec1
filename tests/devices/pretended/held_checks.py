"""Tensors of the CPU that heads and base losses hold, by every engine; and a model that takes its inputs to the device itself."""

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.devices.pretended import backend
from tests.devices.pretended.autocast_checks import Moving
from tests.devices.pretended.checks import batch, check, compared, smooth

ENGINES = ("auto", "double_backward", "reverse_over_forward", "finite_difference")
FACTORS = torch.tensor([2.0])


def held(output: Tensor, target: Tensor) -> Tensor:
    return (output * FACTORS).sum(1)


def weighted(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) * FACTORS).square().mean(1)


@check
def what_a_head_or_a_base_loss_holds_is_moved_once() -> None:
    read = {("wait: to the CPU", "devices.py:numbers")}
    for engine in ENGINES:
        tolerance = 1e-2 if engine == "finite_difference" else 1e-5
        for base, of in (("mse", held), (weighted, "output"), (weighted, "loss")):
            make = lambda engine=engine, base=base, of=of: ig.InputGradientLoss(base, 0.3 * ig.GradientNorm(of=of), engine=engine)  # noqa: E731
            assert set(compared(make, tolerance=tolerance)) <= (read if engine == "finite_difference" else set()), (engine, of)


@check
def class_weights_are_moved_once() -> None:
    labels, base = torch.tensor([0, 1, 2, 1, 0]), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    for of in ("loss", "label"):
        values = []
        for place in (backend.CPU, backend.DEVICE):
            criterion = ig.InputGradientLoss(base, 0.3 * ig.GradientNorm(of=of), verify=False)
            values.append(float(criterion(smooth(3).to(place), batch()[0].to(place), labels.to(place))))
        assert abs(values[0] - values[1]) < 1e-5, values


@check
def a_target_on_another_device_is_named() -> None:
    x, y = batch()
    for base in ("mse", weighted):
        with pytest.raises(ValueError, match=r"the base loss .* two devices: the output is on pretended:0, the target on cpu.*target.to"):
            ig.InputGradientLoss(base, ig.GradientNorm(of="output"))(smooth().to(backend.DEVICE), x.to(backend.DEVICE), y)


@check
def a_term_on_a_model_that_moves_its_inputs_may_hold_tensors_of_the_cpu() -> None:
    x, y = batch()

    @ig.term
    def penalty(batch: ig.Batch) -> Tensor:
        return batch.gradient(of=held).square().sum(1) * (batch.output * FACTORS).sum(1).to(batch.device) ** 2

    found = []
    for place in (backend.CPU, backend.DEVICE):
        model = Moving().to(place)
        ig.InputGradientLoss("mse", penalty)(model, x, y.to(place)).backward()
        found.append(torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]))
    assert torch.allclose(*found, rtol=1e-4, atol=1e-6)
