"""What each of two processes runs under the Trainer of Transformers: how far its weights and its evaluation are from those of one process."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import inputgrad as ig
from tests.integrations import bare
from tests.integrations.with_transformers import REPORTED, N, batches, criterion, llama, network, textbook, trainer


def trained(folder: Path, make: Any, loss: ig.InputGradientLoss, accumulated: int = 1) -> float:
    """Two processes, 4 samples each a step, all at once or in several batches; the reference takes 8 a step."""
    model, reference = make(), make()
    settings = {"ddp_find_unused_parameters": False, "gradient_accumulation_steps": accumulated}
    run = trainer(model, folder, loss, per_device_train_batch_size=4 // accumulated, **settings)
    run.train()
    reference.train()
    bare.loop(reference, lambda x, y: textbook(reference, reference.get_input_embeddings(), x, y), batches(8) * 2)
    return bare.distance(model, reference)


def evaluated(folder: Path) -> dict[str, float]:
    """Relative differences to the whole; with batches of 10 the last ones are filled up, and the parts still add up to the Trainer's own loss."""
    found = {}
    for size in (6, 10):
        model = network()
        run = trainer(model, folder)
        run.args.per_device_eval_batch_size = size
        rows = run.evaluate()
        ((inputs, labels),) = batches(N)
        with torch.no_grad():
            whole = criterion().evaluate(model.eval(), inputs, labels)
        expected = {"eval_loss": whole.loss, **{f"eval_loss_{name}": value for name, value in whole.parts.items()}}
        found |= {f"{name}, {size}": abs(rows[name] - float(value)) / float(value) for name, value in expected.items()}
        found[f"sum, {size}"] = abs(rows["eval_loss"] - rows["eval_loss_base"] - 0.5 * rows["eval_loss_gradient_norm"])
    return found


def alone() -> ig.InputGradientLoss:
    """A loss that reaches neither the classifier's bias nor the last layers' others, for which a reducer waits."""
    return ig.InputGradientLoss(None, [ig.GradientNorm(of="output", power=2, wrt=REPORTED)])


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    differences = nn.CrossEntropyLoss() + 0.5 * ig.GradientNorm(of="loss", power=2, wrt=REPORTED)
    differences.engine = ig.engines.FiniteDifference()
    found: dict[str, Any] = {
        "double_backward": trained(folder, network, criterion()),
        "double_backward, accumulated": trained(folder, network, criterion(), 2),
        "double_backward, llama": trained(folder, llama, criterion("module:model.embed_tokens"), 2),
        "finite_difference": trained(folder, network, differences),
        "evaluated": evaluated(folder),
    }
    run = trainer(network(), folder, alone(), ddp_find_unused_parameters=False)
    run.train()
    found["alone"] = run.state.global_step
    (folder / f"{run.accelerator.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)  # gloo's threads abort one process in forty while the interpreter ends
