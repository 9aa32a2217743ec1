"""The Trainer of Transformers trains what a bare loop trains, with terms on the embeddings; evaluation, accumulation, logs and resuming included."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import inputgrad as ig
from tests import limits
from tests.integrations import bare
from tests.scale.spawn import ROOT, torchrun

transformers = pytest.importorskip("transformers", reason="Transformers is not installed: pip install 'inputgrad[transformers]'")
pytest.importorskip("accelerate", reason="the Trainer of Transformers needs accelerate")

from inputgrad.integrations.transformers import InputGradientTrainer, embeddings_of  # noqa: E402
from tests.integrations.with_transformers import (  # noqa: E402
    REPORTED,
    N,
    arguments,
    batches,
    criterion,
    llama,
    network,
    textbook,
    texts,
    trainer,
)

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]


def test_the_embeddings_are_found() -> None:
    assert embeddings_of(network()) == REPORTED
    assert embeddings_of(llama()) == "module:model.embed_tokens"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_trainer_gives_the_weights_of_the_bare_loop(attention: str, tmp_path: Path) -> None:
    model, reference = network(attention), network("eager")
    trainer(model, tmp_path).train()
    reference.train()
    bare.loop(reference, lambda x, y: textbook(reference, reference.get_input_embeddings(), x, y), batches(4) * 2)
    assert bare.distance(model, reference) < 1e-6


@pytest.mark.parametrize("make", [network, llama])
def test_accumulation_gives_the_weights_of_the_large_batch(make: Any, tmp_path: Path) -> None:
    """Llama takes ``num_items_in_batch``, from which the Trainer concludes that the loss is scaled already: it would be four times too large."""
    model, reference = make(), make()
    loss = criterion(embeddings_of(model))
    trainer(model, tmp_path, loss, per_device_train_batch_size=2, gradient_accumulation_steps=4).train()
    reference.train()
    bare.loop(reference, lambda x, y: textbook(reference, reference.get_input_embeddings(), x, y), batches(8) * 2)
    assert bare.distance(model, reference) < 1e-6


def test_evaluation_and_logs_have_the_parts(tmp_path: Path) -> None:
    model = network()
    run = trainer(model, tmp_path, eval_strategy="epoch", num_train_epochs=1)
    run.compute_metrics = lambda found: {"accuracy": float((np.argmax(found.predictions, 1) == found.label_ids).mean())}
    run.train()
    rows = run.state.log_history[:6]
    assert len(rows) == 6
    assert all({"loss", "loss_base", "loss_gradient_norm"} <= row.keys() for row in rows)
    assert all(row["loss"] == pytest.approx(row["loss_base"] + 0.5 * row["loss_gradient_norm"], rel=1e-4) for row in rows)
    found = run.evaluate()
    ((inputs, labels),) = batches(N)
    with torch.no_grad():
        whole = criterion().evaluate(model.eval(), inputs, labels)
    assert found["eval_loss"] == pytest.approx(whole.loss.item(), rel=1e-5)
    assert found["eval_loss_gradient_norm"] == pytest.approx(whole.parts["gradient_norm"].item(), rel=1e-5)  # batches of 10, 10 and 4
    assert found["eval_accuracy"] == pytest.approx(float((model(**inputs).logits.argmax(1) == labels).float().mean()))
    assert run.predict(texts()).predictions.shape == (N, 3)


def test_a_resumed_run_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """Dropout, random projections, a schedule and a perturbation that is carried: the Trainer keeps the random state, and the criterion its own."""

    def loss() -> ig.InputGradientLoss:
        terms = (
            0.1 * ig.GradientNorm(of=ig.heads.RandomProjection(1), wrt=REPORTED),
            (bare.moving * ig.GradientNorm(of="loss", wrt=REPORTED)).scheduled(every=2),
            0.3 * ig.Adversarial(ig.Carried(0.01, wrt=REPORTED)),
        )
        return ig.InputGradientLoss("cross_entropy", terms)

    model, resumed, settings = network(dropout=0.1), network(dropout=0.1), {"save_strategy": "steps", "save_steps": 7}
    first = trainer(model, tmp_path, loss(), **settings)
    first.train()
    second = trainer(resumed, tmp_path, loss(), **settings)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-7"))
    assert bare.distance(resumed, model) == 0
    assert first.criterion.step_number == second.criterion.step_number == 12


def test_what_would_replace_the_criterion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"takes its loss from criterion=.*label_smoothing"):
        trainer(network(), tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match="compute_loss_func"):
        InputGradientTrainer(network(), arguments(tmp_path), criterion=criterion(), compute_loss_func=lambda *_, **__: None)
    with pytest.raises(TypeError, match=r"criterion must be an InputGradientLoss.*got CrossEntropyLoss"):
        InputGradientTrainer(network(), arguments(tmp_path), criterion=nn.CrossEntropyLoss())


def test_texts_without_labels_are_a_clear_error(tmp_path: Path) -> None:
    run = trainer(network(), tmp_path)
    run.train_dataset = [{name: value for name, value in text.items() if name != "labels"} for text in texts()]
    with pytest.raises(ValueError, match="CrossEntropyLoss needs a target"):
        run.train()


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    done = torchrun(ROOT, "-m", "tests.integrations.transformers_ranks", str(tmp_path), limit=limits.INTEGRATION)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "0.json").read_text())
    assert found == json.loads((tmp_path / "1.json").read_text())
    assert found.pop("alone") == 6  # steps, of a loss that does not reach every parameter
    evaluated = found.pop("evaluated")
    assert len(evaluated) == 8
    for name, error in evaluated.items():
        assert error < (5e-2 if name.startswith("eval") and name.endswith("10") else 1e-5), name  # what fills up a batch is in that batch's mean
    assert len(found) == 4
    for name, error in found.items():
        assert error < (1e-3 if "finite_difference" in name else 1e-6), name
