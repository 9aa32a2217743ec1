"""What each of two processes runs under Accelerate: how far its weights are from those of one process on the whole batches."""

import json
import sys
import warnings
from pathlib import Path

import torch
from accelerate import Accelerator

import inputgrad as ig
from inputgrad.integrations.accelerate import log_parts
from tests.integrations import bare
from tests.integrations.with_accelerate import loader, train

ENGINES = ("double_backward", "finite_difference")  # all engines under bare DDP: tests/scale


def criterion(engine: str) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("cross_entropy", 0.5 * ig.GradientNorm(of="loss", power=2), engine=engine)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = {}
    for engine in ENGINES:
        for accumulated in (1, 3):
            model = train(Accelerator(cpu=True, gradient_accumulation_steps=accumulated), criterion(engine), 4)  # two processes: 8 samples a step
            reference, loss = bare.model(), criterion("double_backward")
            bare.loop(reference, lambda x, y: loss(reference, x, y), bare.batches(8 * accumulated))  # noqa: B023
            found[f"{engine} {accumulated}"] = bare.distance(model, reference)
    clipped = train(Accelerator(cpu=True, gradient_accumulation_steps=3), criterion("double_backward"), 4, clip=0.2)
    reference, loss = bare.model(), criterion("double_backward")
    bare.loop(reference, lambda x, y: loss(reference, x, y), bare.batches(24), clip=0.2)
    found["clipped"] = bare.distance(clipped, reference)
    accelerator, model = Accelerator(cpu=True), bare.model()
    half = accelerator.prepare(loader(24))
    ((x, y),) = list(half)
    means = log_parts(accelerator, criterion("auto").evaluate(model, x, y))
    whole = criterion("auto").evaluate(model, *bare.data()).loss.item()
    found["parts"] = abs(means["train_loss"] - whole) / whole
    (folder / f"{accelerator.process_index}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
