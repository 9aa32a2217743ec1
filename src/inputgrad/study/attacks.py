"""Accuracy under attack: foolbox attacks, an independent library, so that no network is measured by what trained it.

Knows a classifier and foolbox; knows no loss of ours.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import devices_of
from inputgrad.passes.random_state import kept_random_state
from inputgrad.report.record import AttackCurve

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # foolbox 3.3.4 imports old names of scipy's
    from foolbox.attacks import LinfPGD
    from foolbox.models.pytorch import PyTorchModel

ATTACKS: dict[str, dict[str, Any]] = {
    "LinfPGD(steps=20)": {"steps": 20},
    "LinfPGD(steps=40, rel_stepsize=0.1)": {"steps": 40, "rel_stepsize": 0.1},
}
"""The first has foolbox's default step, 1/30 of ε, and so walks only two thirds of ε: weak, and much quoted. The second is the stronger one."""
AT_MOST = 1000
"""Held-out samples that are attacked."""


def curves(model: nn.Module, inputs: Tensor, labels: Tensor, bounds: tuple[float, float], epsilons: list[float], seed: int) -> list[AttackCurve]:
    """The accuracy at each ε under each attack, on the first `AT_MOST` samples. The model is attacked in evaluation mode; the random state is left alone."""
    inputs, labels = inputs[:AT_MOST], labels[:AT_MOST]
    found = []
    with _untouched(model), kept_random_state(devices_of(model, (inputs,))):
        for name, settings in ATTACKS.items():
            torch.manual_seed(seed)  # the attack starts at random: the same for every run
            found.append(AttackCurve(name, list(epsilons), _accuracies(model, settings, inputs, labels, bounds, epsilons)))
    return found


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; its mode and its parameters' ``.grad``, into which attacks write, are put back."""
    mode, kept = model.training, [(parameter, parameter.grad) for parameter in model.parameters()]
    for parameter, _ in kept:
        parameter.grad = None
    model.eval()
    try:
        yield
    finally:
        model.train(mode)
        for parameter, gradient in kept:
            parameter.grad = gradient


def _accuracies(model: nn.Module, settings: dict[str, Any], inputs: Tensor, labels: Tensor, bounds: tuple[float, float], epsilons: list[float]) -> list[float]:
    attacked = PyTorchModel(model, bounds=bounds, device=inputs.device)
    clipped = inputs.clamp(*bounds)  # standardised held-out samples may lie outside the training part's range
    accuracies = []
    for epsilon in epsilons:
        if epsilon == 0:
            with torch.no_grad():
                accuracies.append((model(clipped).argmax(1) == labels).double().mean().item())
            continue
        succeeded = LinfPGD(**settings)(attacked, clipped, labels, epsilons=epsilon)[2]
        accuracies.append(1 - succeeded.double().mean().item())
    return accuracies
