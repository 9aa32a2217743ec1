"""Lightning trains what a bare loop trains, logs the parts, validates under ``no_grad`` and ``inference_mode``, and resumes to the last bit."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests import limits
from tests.integrations import bare
from tests.scale.spawn import ROOT, torchrun

lightning = pytest.importorskip("lightning.pytorch", reason="Lightning is not installed: pip install 'inputgrad[lightning]'")

from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from tests.integrations.with_lightning import Automatic  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in ("DeprecationWarning", "FutureWarning", "lightning.fabric.utilities.warnings.PossibleUserWarning")
]


class Manual(Automatic):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.way = way

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        if self.way == "manual_backward":
            self.manual_backward(self.criterion(self.model, *batch))
        else:
            self.criterion.backward(self.model, *batch)
        optimizer.step()


def loader(size: int = 8) -> DataLoader:
    return DataLoader(TensorDataset(*bare.data()), batch_size=size)


def trainer(folder: Path, **settings: Any) -> Any:
    settings = {"max_epochs": 2, "logger": False, "enable_checkpointing": False, **settings}
    return lightning.Trainer(
        accelerator="cpu", devices=1, default_root_dir=folder, enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1, **settings
    )


def trained_by_loop(size: int = 8, **settings: Any) -> nn.Module:
    network, criterion = bare.model(), bare.criterion()
    bare.loop(network, lambda x, y: criterion(network, x, y), bare.batches(size), **settings)
    return network


def test_automatic_optimisation_gives_the_weights_of_the_bare_loop(tmp_path: Path) -> None:
    module = Automatic()
    trainer(tmp_path).fit(module, loader(), loader(12))
    assert bare.distance(module.model, trained_by_loop()) == 0


@pytest.mark.parametrize("way", ["manual_backward", "criterion.backward"])
def test_manual_optimisation_gives_the_weights_of_the_bare_loop(way: str, tmp_path: Path) -> None:
    module = Manual(way)
    trainer(tmp_path).fit(module, loader())
    assert bare.distance(module.model, trained_by_loop()) < 1e-6


def test_accumulation_and_clipping_give_the_weights_of_the_large_batch(tmp_path: Path) -> None:
    module = Automatic()
    trainer(tmp_path, accumulate_grad_batches=4, gradient_clip_val=0.1).fit(module, loader(4))
    assert bare.distance(module.model, trained_by_loop(16, clip=0.1)) < 1e-6


def test_mixed_precision_gives_the_weights_of_autocast(tmp_path: Path) -> None:
    module, network, criterion = Automatic(), bare.model(), bare.criterion()
    trainer(tmp_path, precision="bf16-mixed").fit(module, loader())

    def loss(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):  # as Lightning has it
            return criterion(network, x, y)

    bare.loop(network, loss, bare.batches(8))
    assert bare.distance(module.model, network) == 0
    assert bare.distance(module.model, trained_by_loop()) > 1e-5  # it was another precision


@pytest.mark.parametrize("inference_mode", [True, False])
def test_validation_works_under_inference_mode_and_no_grad(inference_mode: bool, tmp_path: Path) -> None:
    module = Automatic()
    network = trainer(tmp_path, inference_mode=inference_mode)
    network.validate(module, loader(12), verbose=False)
    criterion, (x, y) = bare.criterion(), bare.data()
    with torch.no_grad():
        expected = [criterion.evaluate(module.model, a, b).parts for a, b in zip(x.split(12), y.split(12), strict=True)]
    assert [mode for mode, _ in module.seen] == [inference_mode] * 4
    for (_, found), parts in zip(module.seen, expected, strict=True):
        assert found == {name: float(part) for name, part in parts.items()}
    assert all(parameter.grad is None for parameter in module.parameters())
    assert module.criterion.step_number == 0


def test_the_parts_are_logged(tmp_path: Path) -> None:
    module, logger = Automatic(), CSVLogger(tmp_path)
    run = trainer(tmp_path, logger=logger, max_epochs=1)
    run.fit(module, loader(), loader(20))  # the last batch has 8
    (tested,) = run.test(module, loader(), verbose=False)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {"loss", "base", "gradient_norm", "adversarial"}
    assert {f"{stage}_{name}" for stage in ("train", "val", "test") for name in names} <= rows[0].keys()
    assert sum(bool(row["train_gradient_norm"]) for row in rows) == 6
    whole = bare.criterion().evaluate(module.model, *bare.data())
    assert tested["test_gradient_norm"] == pytest.approx(whole.parts["gradient_norm"].item(), rel=1e-5)
    (validated,) = [float(row["val_loss"]) for row in rows if row["val_loss"]]
    assert validated == pytest.approx(whole.loss.item(), rel=1e-5)  # weighted by the batches' sizes


def test_tensorboard_gets_the_parts(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    trainer(tmp_path, logger=logger, max_epochs=1).fit(Automatic(), loader())
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    assert len(events.Scalars("train_gradient_norm")) == 6


def test_a_model_made_under_inference_mode_is_one_error_that_names_the_switch(tmp_path: Path) -> None:
    class Late(Automatic):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            late = bare.model()
            self.criterion(late, *batch)

    with pytest.raises(RuntimeError, match=r"parameter '0.weight' is an inference tensor.*Trainer\(inference_mode=False\)"):
        trainer(tmp_path).validate(Late(), loader(), verbose=False)
    trainer(tmp_path, inference_mode=False).validate(Late(), loader(), verbose=False)


def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    def run(epochs: int, checkpoint: str | None = None) -> tuple[Any, Any]:
        module = Automatic(bare.drawing(), nn.Sequential(*bare.model(), nn.Identity()))
        fit = trainer(tmp_path, max_epochs=epochs, callbacks=[Seeded()])
        fit.fit(module, loader(), ckpt_path=checkpoint)
        return module, fit

    class Seeded(lightning.Callback):  # terms draw from torch's generator, whose state a checkpoint of Lightning does not keep
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            torch.manual_seed(trainer.global_step)

    whole, _ = run(4)
    _, half = run(2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(4, str(tmp_path / "half.ckpt"))
    assert bare.distance(resumed.model, whole.model) == 0
    assert resumed.criterion.step_number == whole.criterion.step_number == 24
    (delta,) = [state["delta"] for state in whole.criterion.get_extra_state()["terms"].values()]
    (again,) = [state["delta"] for state in resumed.criterion.get_extra_state()["terms"].values()]
    assert torch.equal(delta, again)
    assert delta.abs().max() > 0


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    """Each process takes its half of every batch; DDP and FSDP2 are Lightning's own strategies."""
    done = torchrun(ROOT, "-m", "tests.integrations.lightning_ranks", str(tmp_path), limit=limits.INTEGRATION)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "0.json").read_text())
    assert found == json.loads((tmp_path / "1.json").read_text())
    assert "in Lightning: self.manual_backward(criterion(self.model, inputs, target))" in found.pop("at once")
    assert len(found) == 7
    for name, (error, validated, expected) in found.items():
        assert error < (1e-3 if "finite_difference" in name else 1e-6), name
        assert validated == pytest.approx(expected, rel=1e-5), name
