"""The training command on the pretended device: a run, and one that is resumed with the device's generator where it stood."""

import io

import torch

from inputgrad.study import checking, checkpoint
from inputgrad.study.assembly import assemble
from inputgrad.study.config import Config
from inputgrad.study.source import Source
from inputgrad.study.training import Training
from tests.devices.pretended import backend
from tests.devices.pretended.checks import check, slow

SMALL = {"name": "small", "data": "digits", "epochs": 2, "batch_size": 256, "threads": 1, "measures": {"epsilons": [], "samples": 2, "steps": 2}}
DROPOUT, TERMS = "tests.study.own_parts:with_dropout", {"base": "cross_entropy", "terms": {"gradient_norm": {"weight": 0.1}}}


def _trained(config: Config, epochs: int) -> Training:
    training = Training(assemble(config, config.data.make()))
    for _ in range(epochs):
        training.run_epoch()
    return training


def _weights(training: Training) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().cpu() for parameter in training.assembly.model.parameters()])


@slow
def a_run_that_is_resumed_there_ends_with_the_same_weights() -> None:
    config = checking.check(Source("test.yaml", {**SMALL, "model": DROPOUT, "loss": TERMS, "device": "pretended:0"}))
    backend.STATE.random = torch.Generator()
    try:
        whole, file = _weights(_trained(config, 2)), io.BytesIO()
        torch.save(_trained(config, 1).state(), file)
        file.seek(0)
        torch.manual_seed(99)
        resumed = Training(assemble(config, config.data.make()))
        resumed.restore(torch.load(file, map_location="cpu", weights_only=True))
        resumed.run_epoch()
    finally:
        backend.STATE.random = None
    assert torch.allclose(_weights(resumed), whole, atol=1e-6)


@check
def generators_are_resumed_on_as_many_devices_as_there_are() -> None:
    backend.STATE.random = torch.Generator()
    try:
        states = checkpoint.random_states((backend.DEVICE,))
        drawn = torch.rand(3, device=backend.DEVICE)
        checkpoint.restore_random_states(states, ())
        checkpoint.restore_random_states({**states, "devices": {}}, (backend.DEVICE,))
        assert not torch.equal(torch.rand(3, device=backend.DEVICE).cpu(), drawn.cpu())
        checkpoint.restore_random_states(states, (backend.DEVICE,))
        assert torch.equal(torch.rand(3, device=backend.DEVICE).cpu(), drawn.cpu())
    finally:
        backend.STATE.random = None
