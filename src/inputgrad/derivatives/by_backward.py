"""Forward-mode derivatives made from backward passes, for functions whose own torch lacks or differentiates wrongly in reverse.

    y = f(a)      tangent:  J v = ∂⟨v, Jᵀu⟩/∂u                                (two backward passes, the second in the first one's cotangent u)
                  the tangent's own backward pass, for a cotangent w:   in a:  ∂⟨v, Jᵀw⟩/∂a      in v:  Jᵀw

So everything follows from f's first and second backward formulas, at the price of running f again for each of them. Works on any function of tensors,
in place or not, as long as it gives the same output when it runs again. Must not know which function it is.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from inputgrad.devices import devices_of, generator_state, set_generator_state
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import is_in_place
from inputgrad.torch_internals.tensors import times_written

Tensors = tuple[Any, ...]
"""Tensors, with None where there is none."""


_TENSOR = object()
"""Where a tensor stands among the arguments."""


class FunctionCall:
    """One call, as a function of its tensors alone.

    captured: leaves that the function uses without being given them, such as a scripted module's parameters.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], captured: Sequence[Tensor] = ()) -> None:
        self._function = function
        leaves, self._structure = pytree.flatten((tuple(args), kwargs))
        self._leaves = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.tensors: list[Tensor] = [leaves[place] for place in self._places]
        self.captured = tuple(captured)
        self._written = {0} if is_in_place(function, kwargs) else set()
        self._autocast = _autocast_here(self.tensors)
        self._result: tuple[list[Any], Any] = ([], None)
        self._devices = devices_of(None, self.tensors)
        self._draws: tuple[Tensor, list[Tensor | None]] | None = None
        """The random state before the first run, where later runs are to draw the same."""

    def run(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The tensors among the outputs. A tensor that the function works on in place, or writes to in its first run, is kept from later runs."""
        leaves = list(self._leaves)
        handed = [tensor.clone() if number in self._written else tensor for number, tensor in enumerate(tensors)]
        for place, tensor in zip(self._places, handed, strict=True):
            leaves[place] = tensor
        versions = [times_written(tensor) for tensor in handed]
        args, kwargs = pytree.unflatten(leaves, self._structure)
        with self._autocast():
            outputs, structure = pytree.flatten(self._function(*args, **kwargs))
        self._written |= {number for number, tensor in enumerate(handed) if times_written(tensor) != versions[number]}
        self._result = ([_TENSOR if isinstance(output, Tensor) else output for output in outputs], structure)
        return tuple(output for output in outputs if isinstance(output, Tensor))

    def run_alike(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The same with the random numbers of the first such run; what is drawn after it goes on from there."""
        before = self._random_state()
        if self._draws is None:
            self._draws = before
            return self.run(tensors)
        self._set_random_state(self._draws)
        try:
            return self.run(tensors)
        finally:
            self._set_random_state(before)

    def _random_state(self) -> tuple[Tensor, list[Tensor | None]]:
        return torch.get_rng_state(), [generator_state(device) for device in self._devices]

    def _set_random_state(self, state: tuple[Tensor, list[Tensor | None]]) -> None:
        torch.set_rng_state(state[0])
        for device, part in zip(self._devices, state[1], strict=True):
            set_generator_state(device, part)

    def result(self, outputs: Sequence[Tensor]) -> Any:
        """What the function returns, with these in the place of the outputs of the last run."""
        remaining = iter(outputs)
        return pytree.unflatten([next(remaining) if leaf is _TENSOR else leaf for leaf in self._result[0]], self._result[1])


def by_backward(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], captured: Sequence[Tensor] = ()) -> Any:
    """``function(*args, **kwargs)`` inside ``torch.func.jvp``, with a tangent made from backward passes."""
    call = FunctionCall(function, args, kwargs, captured)
    tensors, call.tensors = call.tensors, []
    if not is_in_place(function, kwargs):
        return call.result(_Value.apply(call, *tensors, *call.captured))
    kept = tensors[0].clone()  # what the derivatives are taken of, when it has been written over
    return tensors[0].copy_(_Value.apply(call, kept, *tensors[1:], *call.captured)[0])


def is_differentiable(tensor: Any) -> bool:
    """Whether it is a tensor of numbers that a derivative may go to."""
    return isinstance(tensor, Tensor) and (tensor.is_floating_point() or tensor.is_complex())


def inner_product(left: Sequence[Tensor | None], right: Sequence[Tensor | None]) -> Tensor | None:
    """Σ⟨left, right⟩, real also of complex tensors; None where nothing is left over to be summed."""
    parts = [(a.conj() * b).sum() for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    return torch.stack([part.real if part.is_complex() else part for part in parts]).sum() if parts else None


def pulled_back(outputs: Sequence[Tensor], sources: Sequence[Tensor], cotangents: Sequence[Tensor | None], *, create_graph: bool) -> list[Tensor | None]:
    """Jᵀw, one for each source; None where no derivative goes."""
    pairs = [(y, w) for y, w in zip(outputs, cotangents, strict=True) if w is not None and y.requires_grad]
    asked = [source for source in sources if source.requires_grad]
    if not pairs or not asked:
        return [None] * len(sources)
    starts, given = zip(*pairs, strict=True)
    gradients = iter(torch.autograd.grad(starts, asked, given, create_graph=create_graph, allow_unused=True))
    return [next(gradients) if source.requires_grad else None for source in sources]


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(call: FunctionCall, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = tensors[: len(tensors) - len(call.captured)]
        outputs = call.run_alike(given)
        return tuple(output.clone() if any(output is tensor for tensor in given) else output for output in outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)  # a tensor without a tangent is no variable
        ctx.call, *tensors = inputs
        ctx.mark_non_differentiable(*[tensor for tensor in output if not is_differentiable(tensor)])
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *w: Tensor) -> Tensors:
        create_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            sources, outputs = _run_again(ctx.call, ctx.saved_tensors, ctx.needs_input_grad[1:])
            return (None, *pulled_back(outputs, sources, w, create_graph=create_graph))

    @staticmethod
    def jvp(ctx: Any, _: None, *v: Tensor | None) -> tuple[Tensor | None, ...]:
        tangents = _Tangent.apply(ctx.call, *ctx.saved_tensors, *v)
        return tuple(tangent if is_differentiable(tangent) else None for tangent in tangents)


class _Tangent(torch.autograd.Function):
    """(call, tensors, their tangents) -> the outputs' tangents, J v."""

    @staticmethod
    def forward(call: FunctionCall, *tensors_and_tangents: Any) -> tuple[Tensor, ...]:
        half = len(tensors_and_tangents) // 2
        tensors, v = tensors_and_tangents[:half], tensors_and_tangents[half:]
        with torch.enable_grad():
            sources, outputs = _run_again(call, tensors, [part is not None for part in v])
            # Jᵀu is linear in u, so any u will do; zero will not where torch takes its logarithm (logcumsumexp)
            u = [torch.ones_like(output).requires_grad_() if is_differentiable(output) else None for output in outputs]
            total = inner_product(pulled_back(outputs, sources, u, create_graph=True), v)
        tangents = [None] * len(outputs) if total is None else gradients(total, u)
        return tuple(torch.zeros_like(output) if tangent is None else tangent for output, tangent in zip(outputs, tangents, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: Tensors, output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)
        ctx.call, *tensors_and_tangents = inputs
        ctx.mark_non_differentiable(*[tensor for tensor in output if not is_differentiable(tensor)])
        ctx.save_for_backward(*tensors_and_tangents)

    @staticmethod
    def backward(ctx: Any, *w: Tensor) -> Tensors:
        create_graph, saved = torch.is_grad_enabled(), ctx.saved_tensors
        half = len(saved) // 2
        tensors, v = saved[:half], saved[half:]
        asked = [needed or part is not None for needed, part in zip(ctx.needs_input_grad[1 : half + 1], v, strict=True)]
        with torch.enable_grad():
            sources, outputs = _run_again(ctx.call, tensors, asked)
            pulled = pulled_back(outputs, sources, w, create_graph=True)
            total = inner_product(pulled, v)
            second = [None] * half if total is None else gradients(total, sources, create_graph=create_graph)
        of_tangents = [None if t is None or part is None else part if create_graph else part.detach() for part, t in zip(pulled, v, strict=True)]
        return (None, *second, *of_tangents)


def _run_again(call: FunctionCall, tensors: Sequence[Tensor], asked: Sequence[bool]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """Variables of their own in the place of the tensors that are asked for, the captured leaves behind them; and the outputs in their graph."""
    own = tensors[: len(tensors) - len(call.captured)]
    given = [_variable(tensor) if a and is_differentiable(tensor) else tensor.detach() for tensor, a in zip(own, asked, strict=False)]
    return [*given, *call.captured], call.run_alike(given)


def _variable(tensor: Tensor) -> Tensor:
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def gradients(total: Tensor, sources: Sequence[Tensor | None], *, create_graph: bool = False) -> list[Tensor | None]:
    """The gradient of a sum in each source; None where there is none."""
    asked = [source for source in sources if source is not None and source.requires_grad]
    if not total.requires_grad or not asked:
        return [None] * len(sources)
    gradients = iter(torch.autograd.grad(total, asked, create_graph=create_graph, allow_unused=True))
    return [next(gradients) if source is not None and source.requires_grad else None for source in sources]


def _autocast_here(tensors: Sequence[Tensor]) -> Callable[[], AbstractContextManager[Any]]:
    """The autocast of this moment, for runs at another: made anew for each."""
    kind = tensors[0].device.type if tensors else "cpu"
    if not torch.amp.is_autocast_available(kind):
        return nullcontext
    enabled, lower = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype=lower, enabled=enabled, cache_enabled=False)
