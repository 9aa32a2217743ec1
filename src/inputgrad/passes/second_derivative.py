"""Proof that an engine supports a model: what it hands out is differentiated once, for nothing, when a model is first seen with inputs of some shape.

So that what torch cannot do is said here, with the operation's name, and not in the user's ``loss.backward()``.
"""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from inputgrad.devices import length, numbers
from inputgrad.errors import EngineError
from inputgrad.heads import Score
from inputgrad.memory import memory
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.seed_check import check_linear_in_seed, linear_functional
from inputgrad.passes.undefined_derivatives import hold_nan, undefined_module
from inputgrad.passes.values_alone import values_alone
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autograd_graph import is_from_local, is_once_differentiable, leaves_of, nodes_of
from inputgrad.torch_internals.gradient_hooks import handed_over, without_gradient_hooks
from inputgrad.torch_internals.modules import module_forms
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import Key


class Named(Hashable, Protocol):
    """An engine, as far as this room knows it."""

    name: ClassVar[str]


def is_checked(engine: "Named", forward: ForwardPass, score: Score) -> bool:
    """Whether the engine has met this model in this mode with inputs of these shapes; taken for granted while a step is traced."""
    return is_tracing() or signature(engine, forward, score) in memory(forward.model).checked


def check_second_derivative(
    engine: "Named",
    forward: ForwardPass,
    score: Score,
    results: Sequence[Tensor],
    seed: Tensor | None = None,
    wrt: tuple[Key, ...] = (),
    *,
    spend: bool = False,
) -> None:
    """Differentiate ``results`` in the parameters, and in the seed that they were made from, unless that was done before.

    seed, wrt: of the backward pass that gave the results, input gradients with respect to ``wrt``: what is cut off is found by the seed (`seed_check`). A
    once_differentiable Function is looked for by name first, for the sake of the message. spend: free the graph of the results, which are to be made again.
    """
    if is_checked(engine, forward, score):
        return
    for node in nodes_of(results):
        if is_once_differentiable(node):
            raise RuntimeError(messages.ONCE_DIFFERENTIABLE)
    if any(is_from_local(node) for node in nodes_of([forward.primal().output])):
        raise RuntimeError("DTensor.from_local of torch cuts off the second derivative")
    differentiable = [result for result in results if result.requires_grad]
    learning = leaves_of(differentiable) if forward.placement.is_fsdp else forward.model.parameters()  # a sharded unit puts others in the parameters' place
    sources = [parameter for parameter in learning if parameter.requires_grad] + ([seed] if seed is not None else [])
    functional, expected = linear_functional(results) if seed is not None else (None, 0)
    totals = [result.sum() for result in differentiable] if functional is None else [functional]
    by_seed = None
    if totals and sources:
        by_seed, undefined = _tried(forward, totals, sources, seed, spend=spend)
        if undefined and not hold_nan(results):
            _refuse_undefined(engine, forward)
    if not differentiable and not expected:
        return  # a batch without a gradient proves nothing
    if expected and not forward.placement.is_sharded:  # processes that split a model and see other batches would be told of a cut
        check_linear_in_seed(engine.name, forward, score, wrt, results, by_seed, expected)
    memory(forward.model).checked.add(signature(engine, forward, score))


def _tried(forward: ForwardPass, totals: list[Tensor], sources: list[Tensor], seed: Tensor | None, *, spend: bool) -> tuple[Tensor | None, bool]:
    """The gradient of the totals in the last source, and whether that in another is not a number. Each is looked at and let go of as it comes."""
    undefined: list[bool] = []

    def look(_number: int, gradient: Tensor) -> None:
        if forward.placement.local and not undefined and hold_nan([gradient]):
            undefined.append(True)

    shrunk = handed_over(sources[:-1] if seed is not None else sources, look, totals)
    with without_gradient_hooks(forward.model.parameters()), forward.placement.unnoticed_backward(), shrunk:
        last = torch.autograd.grad(totals, sources, retain_graph=not spend, allow_unused=True)[-1]
    if spend:
        forward.free_graph()
    return last, bool(undefined)


def _refuse_undefined(engine: "Named", forward: ForwardPass) -> None:
    """Raises `EngineError` where a module is found whose second derivative is not a number. Where none is, the first derivatives are none either."""
    undefined = undefined_module(forward)
    if undefined is not None:
        raise EngineError(
            f"engine {engine.name!r}: the second derivative of module {undefined[0] or 'the model itself'!r} ({type(undefined[1]).__name__}) is not a number "
            "on this batch, and would make every parameter so: look for a root, a power or a determinant that is taken at 0, and add a small number "
            "inside it. engine='finite_difference' does without second derivatives"
        )


def check_replay(
    engine: "Named", forward: ForwardPass, score: Score, watched: AbstractContextManager[Any] | None = None, *, differentiated: bool = False
) -> None:
    """Run the model once more as it is, the first time that it is met: a replay that gives another output is none.

    watched: what is around this run. differentiated: whether what watches it differentiates inside.

    Raises `EngineError` for a model that draws from a generator or keeps a state that hangs on none of its modules, which no replay puts back.
    """
    key = ("replay", *signature(engine, forward, score))
    if is_tracing() or key in memory(forward.model).checked:
        return
    here = forward.primal().output.detach()
    forward.let_go()

    def run_again() -> Tensor:
        output = forward.run({}).output  # with gradients enabled: user code that looks at that must take the same way
        score(output)  # whoever watches this run watches the score too
        return output.detach()

    with watched or nullcontext():
        again = run_again() if differentiated else values_alone(run_again)
    off, size = numbers([length(again - here), length(here)])
    if not off <= 1e3 * torch.finfo(here.dtype).eps * size and size < float("inf"):
        raise EngineError(
            f"engine {engine.name!r} runs {type(forward.model).__name__} several times per step, and two runs on the same input differ by {off / size:.0e}: "
            "it draws from a generator, or keeps a state, that hangs on none of its modules, such as a global variable. Use torch's default generator and "
            "buffers, or engine='double_backward', which runs it once"
        )
    memory(forward.model).checked.add(key)


def model_fingerprint(model: nn.Module) -> int:
    """What a model is made of, as a number: another one after a layer was exchanged, a mode changed or a hook added."""
    return hash(tuple(module_forms(model)))


def signature(engine: "Named", forward: ForwardPass, score: Score) -> tuple[Any, ...]:
    """All that decides whether a second derivative is there; not the size of the batch or the length of a sequence."""
    kinds = tuple((key, z.dim(), z.dtype) for key, z in forward.inputs.tensors())  # no size: processes may pad differently, and prove in step all the same
    return (engine, score.head.identity(), kinds, forward.wrt, model_fingerprint(forward.model))


@contextmanager
def as_engine_error(engine: "Named", forward: ForwardPass, how: str) -> Iterator[None]:
    """What torch raises inside becomes an `EngineError` that names the operation; what says nothing about the model comes out as it is."""
    try:
        yield
    except EngineError:
        forward.placement.reset_after_error()
        raise
    except RuntimeError as error:
        if messages.OTHER_PROCESS.is_in(error) or messages.OTHER_DEVICE.is_in(error):
            raise
        forward.placement.reset_after_error()
        if messages.is_machine_error(error):
            raise
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(
            f"engine {engine.name!r} cannot differentiate {type(forward.model).__name__} {how}: {messages.obstacle(error)} "
            f"(torch: {first_line!r}). engine='finite_difference' needs first derivatives only, and engine='auto' takes one that works."
        ) from error
