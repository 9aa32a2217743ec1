"""Lightning: a criterion needs nothing but its call in ``training_step``; here is what puts its parts into the log.

    def training_step(self, batch, batch_idx):
        step = self.criterion.evaluate(self.model, *batch)
        log_parts(self, step)                       # train_loss, train_base, train_gradient_norm, …
        return step.loss

Where the trainer accumulates over batches: ``with one_step(self, self.criterion, batch_idx): step = self.criterion.evaluate(...)``.

Validation may be the same three lines: gradients are enabled inside the call, under Lightning's ``no_grad`` and ``inference_mode`` alike. As an attribute of
the module the criterion is in its checkpoints, with what its terms carry.
"""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from inputgrad.batch import Step
from inputgrad.integrations import missing
from inputgrad.loss import InputGradientLoss

try:
    from lightning.pytorch import LightningModule
except ImportError:
    try:
        from pytorch_lightning import LightningModule  # type: ignore[assignment, unused-ignore]  # the same class by its other name; an error only where both are installed
    except ImportError as error:
        raise ImportError(missing("lightning", "lightning")) from error


def one_step(module: LightningModule, criterion: InputGradientLoss, batch_idx: int) -> AbstractContextManager[None]:
    """Around the criterion's call in ``training_step`` with ``Trainer(accumulate_grad_batches=k)``: the micro-batches of one optimiser step count as one."""
    trainer = module.trainer
    last = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
    return criterion.one_step(last=last)


def log_parts(module: LightningModule, step: Step, *, stage: str | None = None, **settings: Any) -> None:
    """Log the loss and its parts as ``<stage>_loss``, ``<stage>_base``, ``<stage>_gradient_norm``, … by the module's own ``log_dict``.

    stage: by default what the trainer does at the moment: "train", "val", "test". settings: those of ``log_dict``, such as ``prog_bar``; outside training
    the values are averaged over the processes unless ``sync_dist`` says otherwise. Means over an epoch are weighted by the batches' sizes.
    """
    trainer = module.trainer
    stage = stage or ("train" if trainer.training else "test" if trainer.testing else "val")
    if isinstance(step.output, Tensor):
        settings.setdefault("batch_size", step.output.shape[0])
    settings.setdefault("sync_dist", not trainer.training and trainer.world_size > 1)
    values = {"loss": step.loss.detach(), **step.parts}
    module.log_dict({f"{stage}_{name}": value for name, value in values.items()}, **settings)
