"""Trials: each engine makes a step of one batch, for its parameter gradient and its time, and leaves no trace.

Everything runs on a replay: random state, buffers and ``.grad`` are afterwards what they were.
"""

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from inputgrad.devices import in_float64, synchronize
from inputgrad.distributed.placement import Placement
from inputgrad.engines import ENGINES, Auto, Compiled, Engine
from inputgrad.errors import EngineError
from inputgrad.memory import memory
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.step.active_terms import active_terms
from inputgrad.step.objective import Call, Objective
from inputgrad.step.parameter_gradients import Gradients, parameter_gradients
from inputgrad.step.verifier import Verification, Verifier
from inputgrad.step.whole_step import whole_step
from inputgrad.torch_internals import messages
from inputgrad.variables import ModelInputs

Caught = list[warnings.WarningMessage]


@contextmanager
def isolated(model: nn.Module, inputs: Any) -> Iterator[Caught]:
    """Gradients on, warnings collected, and every pass inside a replay. Raises `ValueError` for a model whose parameters have no shape yet."""
    tensors = [*model.parameters(), *model.buffers(), *(tensor for _, tensor in ModelInputs.of(inputs).tensors())]
    if any(map(is_lazy, tensors)):
        raise ValueError("the model has lazy parameters, which get their shape from the first batch: call it once, and ask again")
    with torch.inference_mode(False), torch.enable_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        replay = RandomAndBufferState(model, ModelInputs.of(inputs))
        replay.remember()
        with replay.run(), memory(model).isolated():
            yield caught


def _mean_of_output(output: Tensor, target: Any) -> Tensor:
    """The base loss of the plain step, where there is none."""
    return output.mean()


@dataclass(frozen=True)
class Measurement:
    """What an engine gave: the parameter gradient of the terms, and the seconds of a whole step."""

    gradients: Gradients
    seconds: float
    verification: Verification | None = None


class Measurements:
    """All engines on one batch."""

    def __init__(self, objective: Objective, step_number: int, model: nn.Module, inputs: Any, target: Any) -> None:
        self.objective, self.model, self.inputs, self.target = objective, model, ModelInputs.of(inputs), target
        self._step_number = step_number
        for unit in Placement(model).fsdp_modules:
            unit.reshard()  # after a pass of its own it may still hold others in its parameters' place
        self._owners: dict[bool, nn.Module] = {}
        self._sources = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def engines(self) -> list[Engine]:
        """Each engine that can be tried in seconds, in the order of "auto"; the criterion's own object in place of its kind."""
        own = self.objective.engine
        kinds = [kind for kind in ENGINES.values() if kind not in (Auto, Compiled)]
        others = [] if isinstance(own, (Auto, Compiled)) or type(own) in kinds else [own]
        return [*(_quiet(own if type(own) is kind else kind()) for kind in kinds), *others]

    def plain_seconds(self) -> float:
        plain = self._plain()
        self._step(plain)
        return self._timed(plain)

    def tried(self, engine: Engine) -> Measurement | Exception:
        """What the engine gives, or why not. The first step warms up what the second, timed one needs."""
        alone, whole = self._objectives(engine)
        try:
            gradients = self._step(alone)
        except EngineError as error:
            if engine.traits.exact or self.objective.base is None:
                return error
            gradients = []  # it may work for base loss and terms together
        except Exception as error:  # whatever a model or a term raises
            return _about_the_model(error)
        try:
            seconds = self._timed(whole)
            return Measurement(gradients or _minus(self._step(whole), self._step(self._plain())), seconds, self._verified(engine))
        except Exception as error:
            return _about_the_model(error)

    def _verified(self, engine: Engine) -> Verification:
        """The engine's gradient against the change of the terms' value."""
        active = active_terms(self.objective.terms, self._step_number, training=False)
        return Verifier(self.objective, self.model, self.inputs, self.target, active).verify(engine)

    def _plain(self) -> Objective:
        return replace(self.objective, base=self.objective.base or _mean_of_output, terms=(), engine=Auto())

    def _objectives(self, engine: Engine) -> tuple[Objective, Objective]:
        """The terms alone, and the whole."""
        whole = replace(self.objective, engine=engine)
        return replace(whole, base_counts=False), whole

    def tried_compiled(self) -> Measurement | Exception:
        own = self.objective.engine
        alone, whole = self._objectives(own if isinstance(own, Compiled) else Compiled())
        try:
            with warnings.catch_warnings(record=True) as caught:
                gradients = self._program(alone)
                if gradients is not None and self._program(whole) is not None:
                    began = time.perf_counter()
                    self._program(whole)
                    return Measurement(gradients, time.perf_counter() - began)
        except Exception as error:
            return _about_the_model(error)
        return RuntimeError(" ".join(warning_texts(caught)) or "its program was not made")

    def _program(self, objective: Objective) -> Gradients | None:
        """The parameter gradients by the compiled step, None where it cannot be made."""
        with self.replayed(eager=False), self._opened(objective) as call:
            result = whole_step(self._owner(objective), call)
        if result is None:
            return None
        return [result.gradients.get(name) for name, parameter in self.model.named_parameters() if parameter.requires_grad]

    def _owner(self, objective: Objective) -> nn.Module:
        """What stands for a criterion of this objective, for which compiled steps are kept."""
        return self._owners.setdefault(objective.base_counts, nn.Module())

    def _step(self, objective: Objective) -> Gradients:
        with self.replayed(), self._opened(objective) as call:
            return parameter_gradients(call.attached(call.total(call.values())), self.model, self._sources)

    def _timed(self, objective: Objective) -> float:
        began = _now(self._sources)
        self._step(objective)
        return _now(self._sources) - began

    def _opened(self, objective: Objective) -> AbstractContextManager[Call]:
        """A call at which every term is due, on the whole batch; a weight that a schedule has at 0 counts as 1."""
        terms = [replace(item, weight=item.weight or 1.0) for item in active_terms(objective.terms, self._step_number, training=False)]
        copied = {key: tensor.detach().clone().requires_grad_(tensor.requires_grad) for key, tensor in self.inputs.tensors()}
        return objective.on(self.model, self.inputs.replaced(copied), self.target, terms)

    @contextmanager
    def replayed(self, *, eager: bool = True) -> Iterator[None]:
        """From the same random draws and buffers each time; compiled parts of the model as plain Python."""
        replay = RandomAndBufferState(self.model, self.inputs)
        replay.remember()
        with replay.run(), uncompiled() if eager else nullcontext():
            yield


def _about_the_model(error: Exception) -> Exception:
    """The error, raised where memory ran out or the device failed: that says nothing about an engine."""
    if messages.is_machine_error(error):
        raise error
    return error


def _now(tensors: list[Any]) -> float:
    if tensors and tensors[0].device.type not in ("cpu", "meta"):
        synchronize(tensors[0].device)
    return time.perf_counter()


def _quiet(engine: Engine) -> Engine:
    """The engine so set that it refuses where it would warn: a warning comes once per model, and must still come when the model is trained."""
    known: set[str] = {field.name for field in fields(engine)} if is_dataclass(engine) else set()
    changes: Any = {name: value for name, value in {"strict": True, "largest": math.inf}.items() if name in known}
    return replace(engine, **changes) if is_dataclass(engine) and changes else engine


def _minus(total: Gradients, part: Gradients) -> Gradients:
    pairs = zip(total, part, strict=True)
    return [a if b is None else -b if a is None else a - b for a, b in pairs]


def relative(found: Gradients, expected: Gradients) -> float | None:
    """‖found − expected‖ / ‖expected‖, absent gradients counted as zero; None where nothing is expected."""
    off, size = 0.0, 0.0
    for ours, theirs in zip(found, expected, strict=True):
        a, b = (torch.zeros(()) if part is None else in_float64(part.detach()) for part in (ours, theirs))
        off, size = off + float((a - b).square().sum()), size + float(b.square().sum())
    return (off / size) ** 0.5 if size else (0.0 if off == 0 else None)


def warning_texts(caught: Sequence[warnings.WarningMessage]) -> tuple[str, ...]:
    """The first line of each warning, each once; but for what torch says of its own parts."""
    told = [str(warning.message).strip() for warning in caught if not issubclass(warning.category, DeprecationWarning)]
    return tuple(dict.fromkeys(text.splitlines()[0] for text in told if text))
