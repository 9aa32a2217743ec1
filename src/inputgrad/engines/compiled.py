"""Compiled: the whole step as one graph, handed to torch.compile. Exact; the fastest where elementwise work weighs.

It works a level above the other engines: what it is given is the whole evaluation of the loss, and what it gives back is the loss with the parameter gradients
already computed. What it cannot trace, and shapes not seen often enough, run on the engine of ``"auto"``.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from inputgrad.distributed.placement import Placement
from inputgrad.engines.base import Engine, GradientRequest, Linearization, Traits
from inputgrad.engines.choice import Auto
from inputgrad.engines.eager_gradient import eager_gradients, relative
from inputgrad.errors import warn
from inputgrad.memory import memory
from inputgrad.passes.in_chunks import sketch
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.torch_internals import messages, pytree
from inputgrad.tracing.guards import captured_state, model_form
from inputgrad.tracing.progress import told
from inputgrad.tracing.records import StepRequest, StepResult
from inputgrad.variables import ModelInputs

if TYPE_CHECKING:
    from inputgrad.tracing.compiled_step import CompiledStep

_FORMS = 256
"""How many forms of a step are counted at the most."""


@dataclass
class _Shape:
    """What is known of one shape of the inputs (in one mode, at one point of the schedule)."""

    seen: int = 0
    step: "CompiledStep | None" = None


@dataclass
class _CompiledSteps:
    """The compiled steps of one criterion for one model."""

    shapes: dict[Hashable, _Shape] = field(default_factory=dict)
    given_up: bool = False
    told: bool = False
    """Whether it was said that inputs which require grad run eagerly."""


@dataclass(frozen=True)
class Compiled(Engine):
    """One joint graph of model, input gradient, terms and parameter gradients.

    after: how often another shape than the first must be seen before it is compiled too (compiling takes seconds to minutes); until then it runs eagerly.
    tolerance: how far the parameter gradient of a new program may be from the eager one on its first batch, relative; None takes the square root of the
    precision of the parameters, or of autocast where that is coarser. A program that is further off is not used, and one warning says so.

    backend: torch.compile's; "aot_eager" runs the joint graph without a compiler. mode: torch.compile's; "reduce-overhead" records the program as one CUDA
    graph, which is for small networks on a GPU (its results are copied, since the next run writes over them).

    Dropout draws fresh masks each step (by the compiler's generator, seeded by torch's), running statistics are updated, ``.grad`` accumulates, weights
    change without another compilation.
    """

    after: int = 8
    tolerance: float | None = None
    backend: str = "inductor"
    mode: str | None = None

    name: ClassVar[str] = "compiled"
    traits: ClassVar[Traits] = Traits(
        exact=True,
        needs="a model that make_fx can trace: no data-dependent control flow; a compiler for C++ on the CPU",
        passes="2 plain steps, fused by the compiler, after a compilation of seconds to minutes",
        memory="what the compiled graph keeps of forward and backward, less than double backward",
        takes_whole_steps=True,
    )

    def pass_options(self, model: nn.Module) -> PassOptions:
        return Auto().pass_options(model)

    def linearize(self, request: GradientRequest) -> Linearization:
        return Auto().linearize(request)

    def take_step(self, request: StepRequest) -> StepResult | None:
        """The step by its compiled form, or None where it is to run eagerly."""
        steps = memory(request.model).compiled.setdefault(request.owner, _CompiledSteps())
        if steps.given_up or _inputs_require_grad(steps, request):
            return None
        held, others = captured_state(*request.holders)
        shape = steps.shapes.setdefault((_form(request, held), others), _Shape())
        shape.seen += 1
        if len(steps.shapes) > _FORMS:  # one that changes at each step: what never came again is forgotten
            steps.shapes = {form: known for form, known in steps.shapes.items() if known.step is not None or known is shape}
        if shape.step is None:
            if len(steps.shapes) > 1 and shape.seen <= self.after:
                return None
            shape.step = self._compile(request, held)
        if shape.step is None:
            steps.given_up = True
            return None
        return shape.step(request.model, request.inputs, request.target, request.weights)

    def has_given_up(self, model: nn.Module, owner: nn.Module) -> bool:
        """Whether no more steps of this criterion with this model are compiled, as one could not be."""
        steps = memory(model).compiled.get(owner)
        return isinstance(steps, _CompiledSteps) and steps.given_up

    def _compile(self, request: StepRequest, held: dict[int, Tensor]) -> "CompiledStep | None":
        from inputgrad.tracing.compiled_step import CompiledStep  # the tracer takes a second to import

        model = request.model
        reason: str | None
        if (reason := Placement(model).why_untraceable()) is not None:
            self._refuse(model, reason)
            return None
        try:
            replay = RandomAndBufferState(model, ModelInputs.of(request.inputs))
            replay.remember()  # neither the trace nor the comparison leaves a trace in buffers and generators
            with told(f"a step of {type(model).__name__}"):
                expected, foreign = eager_gradients(replay, request)  # first, since a field learns of it what its equation asks for
                with replay.run():
                    compiled = CompiledStep(request, self.backend, self.mode)
                reason = _frozen(compiled, model, held) or _foreign(foreign) or self._difference(replay, compiled, request, expected)
        except Exception as error:  # tracers and compilers raise anything
            if messages.is_machine_error(error):
                raise
            reason = f"{type(error).__name__}: {(str(error).strip().splitlines() or ['(no message)'])[0]}"
        if reason is None:
            return compiled
        self._refuse(model, reason + _held_parameters(model, held))
        return None

    def _refuse(self, model: nn.Module, reason: str) -> None:
        warn(f"engine 'compiled' does not support {type(model).__name__}: {reason}. It runs eagerly, by the engine of 'auto'")

    def _difference(self, replay: RandomAndBufferState, compiled: "CompiledStep", request: StepRequest, expected: dict[str, Tensor]) -> str | None:
        """Why the compiled step is not used: its first batch compared with the eager step, of whose gradient a sketch is kept."""
        dtypes = {parameter.dtype for parameter in request.model.parameters() if parameter.requires_grad}
        for interpreted in (True, False):
            with replay.run(program=True):
                result = compiled(request.model, request.inputs, request.target, request.weights, interpreted=interpreted)
            known = compiled.random and not interpreted  # the compiler may draw other numbers
            error = 0.0 if known else relative({name: sketch(gradient) for name, gradient in result.gradients.items()}, expected)
            del result
            if not error <= self._allowed(dtypes, None if interpreted else _autocast(_device(request))):
                return f"its parameter gradient on the first batch differs from the eager one by {error:.1e}"
        return None

    def _allowed(self, gradients: set[torch.dtype], autocast: torch.dtype | None) -> float:
        """The root of the coarsest precision: under autocast the compiler rounds at other places than the eager step."""
        if self.tolerance is not None:
            return self.tolerance
        dtypes = gradients | ({autocast} if autocast else set())
        return max((torch.finfo(dtype).eps for dtype in dtypes), default=1.0) ** 0.5


def _autocast(device: torch.device) -> torch.dtype | None:
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _device(request: StepRequest) -> torch.device:
    return next((leaf.device for leaf in pytree.leaves(request.inputs) if isinstance(leaf, Tensor)), torch.device("cpu"))


def _form(request: StepRequest, held: dict[int, Tensor]) -> Hashable:
    """All that a compiled step is made for. Another form gets one of its own."""
    leaves, structure = pytree.flatten((request.inputs, request.target))
    shapes = tuple((tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves)
    wanted = tuple(parameter.requires_grad for parameter in request.model.parameters())
    autocast = _autocast(_device(request))
    outside = tuple((identity, tensor.requires_grad) for identity, tensor in sorted(held.items()))
    return (shapes, str(structure), model_form(request.model), wanted, autocast, request.schedule, outside)


def _frozen(compiled: "CompiledStep", model: nn.Module, held: dict[int, Tensor]) -> str | None:
    """A tensor that the trace has taken in as it was, and whose exchange nobody would notice."""
    known = held.keys() | captured_state(*model.modules())[0].keys()
    for constant in compiled.constants():
        if id(constant) not in known:
            return f"a tensor of shape {list(constant.shape)} enters the step from outside; hand it to the term, the place or the model as a field of theirs"
    return None


def _held_parameters(model: nn.Module, held: dict[int, Tensor]) -> str:
    """What to write where a term holds a parameter of the model as a tensor, which the program cannot tell from the model's own."""
    names = [name for name, parameter in model.named_parameters() if id(parameter) in held]
    told = ". A term holds the parameter {0!r} of the model as a tensor: pass a callable that takes it from the model, such as diffusivity=lambda u: model.{0}"
    return told.format(names[0]) if names else ""


def _foreign(leaves: int) -> str | None:
    return f"the loss reaches {leaves} tensor(s) that require grad and are not parameters of the model" if leaves else None


def _inputs_require_grad(steps: _CompiledSteps, request: StepRequest) -> bool:
    """Whether inputs or target require grad: a compiled step hands its gradients to the parameters only. Said once, and no reason to give up."""
    leaves, _ = pytree.flatten((request.inputs, request.target))
    if not any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves):
        return False
    if not steps.told:
        steps.told = True
        warn(
            f"engine 'compiled' does not support {type(request.model).__name__} where the inputs or the target require grad, since a program hands its "
            "gradients to the parameters only. Such steps run eagerly, by the engine of 'auto'"
        )
    return True
