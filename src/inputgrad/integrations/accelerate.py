"""Accelerate: a criterion is called with the prepared model, and ``accelerator.backward`` takes its loss; here is what logs its parts and keeps its state.

model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
accelerator.register_for_checkpointing(criterion)      # what its terms carry goes into save_state and load_state
for x, y in loader:
    with accelerator.accumulate(model):
        step = criterion.evaluate(model, x, y)
        accelerator.backward(step.loss)
        …
    log_parts(accelerator, step)
"""

from typing import Any

from inputgrad.batch import Step
from inputgrad.integrations import missing

try:
    from accelerate import Accelerator
except ImportError as error:
    raise ImportError(missing("accelerate", "accelerate")) from error


def log_parts(accelerator: Accelerator, step: Step, number: int | None = None, *, stage: str = "train", **settings: Any) -> dict[str, float]:
    """The loss and its parts, averaged over the processes, to the accelerator's trackers as ``<stage>_loss``, ``<stage>_base``, …; also returned.

    number: of the step, for the trackers. settings: those of ``accelerator.log``. Every process must call it, for it waits for all.
    """
    values = {f"{stage}_{name}": value.detach() for name, value in {"loss": step.loss, **step.parts}.items()}
    means = {name: float(accelerator.reduce(value.clone(), "mean")) for name, value in values.items()}
    accelerator.log(means, step=number, **settings)
    return means
