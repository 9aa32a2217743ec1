"""Transformers: a ``Trainer`` whose loss is a criterion. Tokens have no derivative, so its terms differentiate what the embedding returns.

wrt = embeddings_of(model)
criterion = nn.CrossEntropyLoss() + 0.1 * ig.GradientNorm(of="loss", wrt=wrt)
InputGradientTrainer(model, arguments, criterion=criterion, train_dataset=…, eval_dataset=…).train()
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.integrations import missing
from inputgrad.integrations.embeddings import called_embedding
from inputgrad.loss import InputGradientLoss
from inputgrad.passes.outputs import tensors_in

try:
    from transformers import Trainer
except ImportError as error:
    raise ImportError(missing("transformers", "transformers")) from error

STATE = "criterion.pt"


def embeddings_of(model: nn.Module) -> str:
    """``"module:<name>"`` of the model's input embeddings, for ``wrt=``: of modules that share their weight (Bart) the one that is called first."""
    embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator]  # a method of every pretrained model
    return "module:" + called_embedding(model, embeddings, getattr(model, "dummy_inputs", None))


class InputGradientTrainer(Trainer):
    """`transformers.Trainer` with ``criterion(model, inputs, labels)`` as its loss, in training and in evaluation.

    criterion: an `InputGradientLoss`; the labels (``args.label_names``) are its target, a dict where there are several, and the model does not see them.
    The rest is as in `Trainer`. The parts are logged beside the loss as ``loss_base``, ``loss_gradient_norm``, … and are among the metrics of an evaluation as
    ``eval_loss_base``, …. Checkpoints hold the criterion's state (``criterion.pt``). Accumulation takes the mean of the batches' losses.
    """

    loss_is_scaled_for_ga = False  # a criterion's loss is a mean over its batch, so the steps of an accumulation are to be divided by their number

    def __init__(self, *args: Any, criterion: InputGradientLoss, **kwargs: Any) -> None:
        if not isinstance(criterion, InputGradientLoss):
            raise TypeError(f"criterion must be an InputGradientLoss, such as nn.CrossEntropyLoss() + 0.1 * term; got {type(criterion).__name__}")
        super().__init__(*args, **kwargs)
        if self.label_smoother is not None or self.compute_loss_func is not None:
            raise ValueError(
                "InputGradientTrainer takes its loss from criterion=: leave out label_smoothing_factor and compute_loss_func "
                "(for smoothing: nn.CrossEntropyLoss(label_smoothing=0.1) + term)"
            )
        self.model_accepts_loss_kwargs = False  # releases without loss_is_scaled_for_ga conclude from this that the loss was scaled by the model
        self.criterion = criterion
        self._trained, self._evaluated = _Means(), _Means()

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """The criterion's loss; its output under ``"logits"`` where outputs are asked for."""
        labels = {name: inputs[name] for name in self.label_names if inputs.get(name) is not None}
        others = {name: value for name, value in inputs.items() if name not in labels}
        target = next(iter(labels.values())) if len(labels) == 1 else labels or None
        counted = self.criterion.one_step(last=self.accelerator.sync_gradients) if model.training else nullcontext()
        with counted:  # the micro-batches of an accumulation are one step
            step = self.criterion.evaluate(model, others, target)
        size = _size(step.output)
        if model.training:
            self._trained.add({name: value.expand(size) for name, value in step.parts.items()})
        else:  # gathered as the Trainer gathers the loss: texts that fill up the last batch of several processes count once
            self._evaluated.add({name: self.accelerator.gather_for_metrics(value.repeat(size)) for name, value in step.parts.items()})
        logits = step.output if isinstance(step.output, torch.Tensor) else getattr(step.output, "logits", None)
        return (step.loss, {} if logits is None else {"logits": logits}) if return_outputs else step.loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """`Trainer.log`, the parts beside the loss."""
        if "loss" in logs:
            logs.update(self._trained.taken("loss", lambda pair: self.accelerator.reduce(pair, "sum")))
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        """`Trainer.evaluation_loop`, the parts among the metrics."""
        self._evaluated = _Means()
        output = super().evaluation_loop(*args, **kwargs | {"metric_key_prefix": metric_key_prefix})
        if output.metrics is not None:
            output.metrics.update(self._evaluated.taken(f"{metric_key_prefix}_loss"))
        return output

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            torch.save(self.criterion.state_dict(), Path(output_dir) / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (path := Path(checkpoint) / STATE).is_file():
            self.criterion.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))


def _size(output: Any) -> int:
    """How many samples an output is of; 1 where there is none."""
    rows = [tensor.shape[0] for tensor in tensors_in(output) if tensor.dim()]
    return rows[0] if rows else 1


class _Means:
    """The parts of several steps, each weighted by its number of samples."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, parts: dict[str, Tensor]) -> None:
        """parts: by name, ``[N]``."""
        for name, values in parts.items():
            pair = torch.stack((values.float().sum(), values.new_tensor(len(values), dtype=torch.float32)))
            self._sums[name] = self._sums.get(name, 0) + pair

    def taken(self, prefix: str, reduce: Callable[[Tensor], Tensor] = lambda pair: pair) -> dict[str, float]:
        """The means over everything added, and over all processes where ``reduce`` adds up; afterwards there is nothing."""
        sums, self._sums = self._sums, {}
        reduced = {name: reduce(pair) for name, pair in sums.items()}
        return {f"{prefix}_{name}": float(total / count) for name, (total, count) in reduced.items()}
