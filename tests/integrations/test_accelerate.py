"""Accelerate: prepared models, accumulation, ``accelerator.backward``, trackers, saved states, and two processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests import limits
from tests.integrations import bare
from tests.scale.spawn import ROOT, torchrun

accelerate = pytest.importorskip("accelerate", reason="Accelerate is not installed: pip install 'inputgrad[accelerate]'")

from inputgrad.integrations.accelerate import log_parts  # noqa: E402
from tests.integrations.with_accelerate import loader, train  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Accelerate keeps one state for the whole process."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    yield
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def trained_by_loop(size: int) -> nn.Module:
    network, criterion = bare.model(), bare.criterion()
    bare.loop(network, lambda x, y: criterion(network, x, y), bare.batches(size))
    return network


def test_a_prepared_model_gets_the_weights_of_the_bare_loop() -> None:
    assert bare.distance(train(accelerate.Accelerator(cpu=True), bare.criterion(), 8), trained_by_loop(8)) == 0


def test_accumulation_gives_the_weights_of_the_large_batch() -> None:
    found = train(accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4), bare.criterion(), 4)
    assert bare.distance(found, trained_by_loop(16)) < 1e-6


def test_mixed_precision_gives_the_weights_of_autocast_round_the_model() -> None:
    """Accelerate puts autocast round the model's forward alone, and widens its outputs."""
    network, criterion = bare.model(), bare.criterion()

    class Autocast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.inner(x).float()

    wrapped = Autocast()
    bare.loop(network, lambda x, y: criterion(wrapped, x, y), bare.batches(8))
    found = train(accelerate.Accelerator(cpu=True, mixed_precision="bf16"), bare.criterion(), 8)
    assert bare.distance(found, network) == 0
    assert bare.distance(found, trained_by_loop(8)) > 1e-5  # it was another precision


def test_the_parts_go_to_the_trackers() -> None:
    from accelerate.tracking import GeneralTracker

    class Kept(GeneralTracker):
        name, requires_logging_directory, main_process_only = "kept", False, True
        tracker = None

        def __init__(self) -> None:
            super().__init__()
            self.rows: list[tuple[int | None, dict[str, float]]] = []

        def store_init_configuration(self, values: dict[str, Any]) -> None:
            pass

        def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
            self.rows.append((step, values))

    kept = Kept()
    accelerator = accelerate.Accelerator(cpu=True, log_with=kept)
    accelerator.init_trackers("parts")
    step = bare.criterion().evaluate(bare.model(), *bare.data())
    found = log_parts(accelerator, step, 7, stage="val")
    assert kept.rows == [(7, found)]
    assert found == {"val_loss": step.loss.item(), **{f"val_{name}": part.item() for name, part in step.parts.items()}}
    assert found.keys() == {"val_loss", "val_base", "val_gradient_norm", "val_adversarial"}


def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """Accelerate keeps the random state; the criterion is registered with it."""

    def run(epochs: range, *, save: bool = False, load: bool = False) -> tuple[nn.Module, ig.InputGradientLoss]:
        torch.manual_seed(5)
        accelerator, model, criterion = accelerate.Accelerator(cpu=True), bare.model(), bare.drawing()
        model, optimizer, batches = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.05, momentum=0.9), loader(8))
        accelerator.register_for_checkpointing(criterion)
        if load:
            accelerator.load_state(str(tmp_path / "state"))
        for epoch in epochs:
            if save and epoch == 2:
                accelerator.save_state(str(tmp_path / "state"))
            for x, y in batches:
                optimizer.zero_grad()
                accelerator.backward(criterion(model, x, y))
                optimizer.step()
        return model, criterion

    whole, first = run(range(4), save=True)
    resumed, second = run(range(2, 4), load=True)
    assert bare.distance(resumed, whole) == 0
    assert first.step_number == second.step_number == 24


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    done = torchrun(ROOT, "-m", "tests.integrations.accelerate_ranks", str(tmp_path), limit=limits.INTEGRATION)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "0.json").read_text())
    assert found == json.loads((tmp_path / "1.json").read_text())
    assert found.pop("parts") < 1e-6
    assert len(found) == 5
    for name, error in found.items():
        assert error < (1e-3 if "finite_difference" in name else 1e-6), name
