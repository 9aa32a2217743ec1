"""Accelerate: a criterion is called with the prepared model, and ``accelerator.backward`` takes its loss; here is what logs its parts and keeps its state.

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
accelerator.register_for_checkpointing(criterion)      # what its terms carry goes into save_state and load_state
for x, y in loader:
    with accelerator.accumulate(model), one_step(accelerator, criterion):   # micro-batches count as one step
        step = criterion.evaluate(model, x, y)
        accelerator.backward(step.loss)
        …
    log_parts(accelerator, step)
"""

from contextlib import AbstractContextManager
from typing import Any

from inputgrad.batch import Step
from inputgrad.integrations import missing
from inputgrad.loss import InputGradientLoss

try:
    from accelerate import Accelerator
except ImportError as error:
    raise ImportError(missing("accelerate", "accelerate")) from error


def one_step(accelerator: Accelerator, criterion: InputGradientLoss) -> AbstractContextManager[None]:
    """Inside ``accelerator.accumulate(model)``: the micro-batches up to the one that synchronises gradients count as one step of the criterion."""
    return criterion.one_step(last=accelerator.sync_gradients)


def log_parts(accelerator: Accelerator, step: Step, number: int | None = None, *, stage: str = "train", **settings: Any) -> dict[str, float]:
    """The loss and its parts, averaged over the processes, to the accelerator's trackers as ``<stage>_loss``, ``<stage>_base``, …; also returned.

    number: of the step, for the trackers. settings: those of ``accelerator.log``. Every process must call it, for it waits for all.
    """
    values = {f"{stage}_{name}": value.detach() for name, value in {"loss": step.loss, **step.parts}.items()}
    means = {name: float(accelerator.reduce(value.clone(), "mean")) for name, value in values.items()}
    accelerator.log(means, step=number, **settings)
    return means
