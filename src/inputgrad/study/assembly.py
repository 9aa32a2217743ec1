"""From a config to the things themselves: data, model, criterion, optimiser, targets; and a trial call before anything is written.

Knows every part of a run; trains nothing and writes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses
from inputgrad.batch import Step
from inputgrad.loss import InputGradientLoss
from inputgrad.passes.outputs import default_output
from inputgrad.study.checkpoint import seed_all
from inputgrad.study.config import Config
from inputgrad.study.data import Data, Task
from inputgrad.study.imports import load_callable
from inputgrad.study.models import ModelEntry
from inputgrad.study.problems import StudyError, raised
from inputgrad.torch_internals import messages

DEFAULT_BASE = {"classification": "cross_entropy", "regression": "mse"}
_OF_CLASSES = ("cross_entropy", "nll", "own")
_NOT_OF_NUMBERS = ("cross_entropy", "nll", "bce", "bce_with_logits", "soft_margin", "kl_div")
TRIAL = 4
"""Samples of the trial call."""


@dataclass(eq=False)
class Assembly:
    """A run's parts, on the run's device. step: ``(model, inputs, target) -> Step``; sample_loss: ``(output, target) -> [N]``, the sample's own loss."""

    config: Config
    data: Data
    model: nn.Module
    criterion: Any
    step: Callable[[nn.Module, Tensor, Tensor], Step]
    optimizer: torch.optim.Optimizer
    targets: Callable[[Tensor], Tensor]
    sample_loss: Callable[[Tensor, Any], Tensor]
    model_entry: Any

    @property
    def device(self) -> torch.device:
        return torch.device(self.config.device)

    def output(self, inputs: Tensor) -> Tensor:
        """The model's output ``[N, ...]`` without a graph, in evaluation mode; its mode is put back."""
        mode = self.model.training
        self.model.eval()
        with torch.no_grad():
            found: Tensor = default_output(self.model(inputs.to(self.device)))
        self.model.train(mode)
        return found


def assemble(config: Config, data: Data) -> Assembly:
    """The parts of a run, seeded: twice the same config gives twice the same model. Raises `StudyError` where they do not fit together."""
    seed_all(config.seed)
    entry: Any = config.model or ModelEntry.model_validate("cnn" if len(data.input_shape) == 3 else "mlp")
    try:
        model = entry.settings.build(data.input_shape, data.output_size).to(config.device)
    except (RuntimeError, MemoryError, OverflowError, ValueError) as error:
        raise StudyError(f"{config.name}: the model cannot be built: {raised(error)}") from error
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise StudyError(f"{config.name}: the model has no parameters to train")
    try:
        criterion, step = _criterion(config, data)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise StudyError(f"{config.name}: the loss cannot be made: {error}") from error
    chosen: Any = config.optimizer
    optimizer = chosen.settings.build(parameters)
    return Assembly(config, data, model, criterion, step, optimizer, _targets(config, data), _sample_loss(config, data), entry)


def try_out(assembly: Assembly) -> None:
    """One call of the criterion on a few samples, which leaves no trace. Raises `StudyError` with what went wrong."""
    data, model, name = assembly.data, assembly.model, assembly.config.name
    inputs, target = (part[:TRIAL].to(assembly.device) for part in (data.train_inputs, assembly.targets(data.train_labels)))
    try:
        output = assembly.output(inputs)
    except Exception as error:
        raise StudyError(f"{name}: the model cannot be called with inputs {list(inputs.shape)}: {raised(error)}") from error
    _check_output(assembly, output)
    model.eval()
    try:
        assembly.step(model, inputs, target)
    except (ValueError, TypeError, RuntimeError) as error:
        if messages.is_machine_error(error):
            raise
        raise StudyError(f"{name}: the loss cannot be taken of this model and these data: {error}") from error
    except Exception as error:
        raise StudyError(f"{name}: the loss cannot be taken of this model and these data: {raised(error)}") from error


def _check_output(assembly: Assembly, output: Any) -> None:
    expected = [min(TRIAL, len(assembly.data.train_inputs)), assembly.data.output_size]
    if not isinstance(output, Tensor) or list(output.shape) != expected:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise StudyError(f"{assembly.config.name}: the model returned {got} for {expected[0]} samples, expected [N, output_size] = {expected}")


def _criterion(config: Config, data: Data) -> tuple[Any, Callable[[nn.Module, Tensor, Tensor], Step]]:
    if config.criterion is not None:
        own = load_callable(config.criterion.callable)
        return own, partial(_own_step, partial(own, **config.criterion.settings))
    assert config.loss is not None  # a config has one of the two
    base: Any = config.loss.base
    if base is not None and data.task == "regression" and base.chosen in _NOT_OF_NUMBERS:
        raise StudyError(f"{config.name}: loss.base {base.chosen} is for classes, and {data.name} is a regression: use mse, l1, smooth_l1 or huber")
    entries: list[Any] = config.loss.terms
    terms = [entry.make(data) for entry in entries]
    whole = next((made for made in terms if isinstance(made, InputGradientLoss)), None)
    if whole is not None:
        if base is not None or len(terms) > 1:
            raise StudyError(f"{config.name}: loss.terms holds a whole criterion, which replaces the base loss: leave loss.base and the other terms out")
        criterion = InputGradientLoss(whole.base, whole.terms, engine=config.engine, output=whole.output).to(config.device)
    else:
        criterion = InputGradientLoss(base.make(data) if base is not None else None, terms, engine=config.engine).to(config.device)
    return criterion, criterion.evaluate


def _own_step(own: Callable[..., Any], model: nn.Module, inputs: Tensor, target: Tensor) -> Step:
    """What a criterion of the user's own returns, a 0-d loss or a `Step`, as a `Step`."""
    result = own(model, inputs, target)
    step = result if isinstance(result, Step) else Step(result, inputs, {})
    if not isinstance(step.loss, Tensor) or step.loss.dim() != 0 or not step.loss.requires_grad:
        raise TypeError(f"criterion must return a 0-d loss with a graph, or a Step; got {step.loss!r}")
    return step


def _base_name(config: Config, task: Task) -> str:
    base: Any = config.loss.base if config.loss is not None else None
    return base.chosen if base is not None else DEFAULT_BASE[task]


def _targets(config: Config, data: Data) -> Callable[[Tensor], Tensor]:
    """How labels ``[N]`` become the base loss's targets: class numbers, one-hot rows ``[N, C]`` (±1 for soft_margin), or wanted values ``[N, 1]``."""
    if data.task == "regression":
        return lambda labels: labels[:, None]
    name, count = _base_name(config, data.task), data.output_size
    if name in _OF_CLASSES:
        return lambda labels: labels
    low = -1.0 if name == "soft_margin" else 0.0
    return lambda labels: low + (1 - low) * nn.functional.one_hot(labels, count).float()


def _sample_loss(config: Config, data: Data) -> Callable[[Tensor, Any], Tensor]:
    """Each sample's own base loss; that of the task where the base is missing or the user's own."""
    entry: Any = config.loss.base if config.loss is not None else None
    known = entry is not None and entry.chosen != "own"
    base = entry.make(data) if known else base_losses.resolve(DEFAULT_BASE[data.task])
    return partial(base_losses.per_sample, base)
