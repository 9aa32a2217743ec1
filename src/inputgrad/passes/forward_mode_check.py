"""Trial of torch's forward-mode derivatives: every function that a model calls is tried once, by itself, on the arguments of that call.

    h = ⟨v, Jᵀw⟩ by two backward passes          t = ⟨w, J v⟩ by ``torch.func.jvp``          ∂h/∂a = ∂t/∂a for every argument a

Both sides are the same function of the arguments, so their gradients agree to rounding, or torch's forward-mode formula is wrong when it is differentiated
in reverse. Such a function, or one that has no such formula, then runs with a derivative made from its backward passes (`derivatives.by_backward`).
Tried in float64, with random v and w. Not tried: functions that draw random numbers, collectives, tensors of a type with rules of its own, very large
tensors, and what TorchScript or a custom ``autograd.Function`` does inside. Must not know which function it is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.derivatives.by_backward import FunctionCall, gradients, inner_product, is_differentiable, pulled_back
from inputgrad.derivatives.forward_mode import is_replaced, replace_from_now_on
from inputgrad.devices import devices_of, has_float64
from inputgrad.passes.random_state import random_state, set_random_state
from inputgrad.torch_internals import messages, pytree
from inputgrad.torch_internals.checkpoints import in_checkpoint
from inputgrad.torch_internals.function_modes import is_in_place
from inputgrad.torch_internals.functorch import has_dual_level, is_transforming
from inputgrad.torch_internals.tensors import times_written
from inputgrad.torch_internals.tracing import without_dispatch_modes

LARGEST = 2**22
"""Elements of the arguments and outputs of one call that are tried."""
TOLERANCE = 1e-6


class ForwardModeCheck(TorchFunctionMode):
    """While active, functions are tried that have not been tried in this form before; those that fail are replaced from now on."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if is_replaced(func) or not torch.is_grad_enabled() or is_transforming() or has_dual_level() or in_checkpoint():
            return func(*args, **kwargs)
        form = _form(func, args, kwargs)
        if form is None or form in _TRIED:
            return func(*args, **kwargs)
        before_args, before_kwargs = pytree.map_only(Tensor, torch.clone, (args, kwargs)) if is_in_place(func, kwargs) else (args, kwargs)
        first = args[0] if args and isinstance(args[0], Tensor) else None
        before = first is not None and times_written(first)
        result = func(*args, **kwargs)
        written = first is not None and times_written(first) != before
        if _has_derivative(result) and written == is_in_place(func, kwargs):  # requires_grad_ computes nothing
            if not is_right_in_reverse(func, before_args, before_kwargs, result):
                replace_from_now_on(func)
            _TRIED.add(form)
        return result


def is_right_in_reverse(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], result: Any = None) -> bool:
    """Whether forward mode may be used and differentiated; True also where that cannot be told: without a second derivative there is nothing better.

    result: what the call gave, which may be on another device than its arguments.
    """
    call = FunctionCall(function, args, kwargs)
    asked = [is_differentiable(tensor) and tensor.requires_grad for tensor in call.tensors]
    with _as_if_nothing_had_happened(devices_of(None, [*call.tensors, *pytree.leaves(result)])):
        tensors = [_doubled(tensor).requires_grad_(a) for tensor, a in zip(call.tensors, asked, strict=True)]
        try:
            trial = _Trial(call, tensors, asked)
            expected = trial.by_two_backward_passes()
        except Exception as error:  # whatever a function of the user's or of torch's says to arguments in float64, the model goes on without this trial
            if messages.is_machine_error(error):
                raise
            return True
        if not trial.tells or not all(part.isfinite().all() for part in expected):
            return True
        try:
            return _agree(trial.by_forward_mode(), expected)
        except (RuntimeError, KeyError) as error:  # no forward-mode formula, or none that can be differentiated; higher-order operators: a KeyError
            if messages.is_machine_error(error):
                raise
            return False


class _Trial:
    def __init__(self, call: FunctionCall, tensors: list[Tensor], asked: list[bool]) -> None:
        self._call, self._tensors = call, tensors
        self._places = [place for place, a in enumerate(asked) if a]
        self._sources = [tensors[place] for place in self._places]
        outputs, again = self._outputs(self._sources), self._outputs(self._sources)
        self.tells = all(torch.equal(one, other) or not one.isfinite().all() for one, other in zip(outputs, again, strict=True))
        """Whether two runs give the same: it draws no random numbers."""
        self._outputs_here = outputs
        self._w = [torch.randn_like(output.detach()) for output in outputs]
        self._v = [torch.randn_like(source.detach()) for source in self._sources]

    def by_two_backward_passes(self) -> list[Tensor]:
        """h, and its gradients."""
        pulled = pulled_back(self._outputs_here, self._sources, self._w, create_graph=True)
        return self._with_gradients(inner_product(pulled, self._v))

    def by_forward_mode(self) -> list[Tensor]:
        """t, and its gradients."""

        def weighted(*sources: Tensor) -> Tensor | None:
            return inner_product(self._w, self._outputs(sources))

        return self._with_gradients(torch.func.jvp(weighted, tuple(self._sources), tuple(self._v))[1])

    def _outputs(self, sources: Sequence[Tensor]) -> list[Tensor]:
        tensors = list(self._tensors)
        for place, source in zip(self._places, sources, strict=True):
            tensors[place] = source
        return [output for output in self._call.run(tensors) if is_differentiable(output)]

    def _with_gradients(self, total: Tensor | None) -> list[Tensor]:
        if total is None:
            return [torch.zeros(()), *[torch.zeros_like(source.detach()) for source in self._sources]]
        parts = gradients(total, self._sources)
        return [total.detach(), *[torch.zeros_like(s.detach()) if part is None else part for part, s in zip(parts, self._sources, strict=True)]]


def _agree(tried: list[Tensor], expected: list[Tensor]) -> bool:
    """NaN where a number is expected is no agreement."""
    size = max(float(part.norm()) for part in expected)
    return all(float((one - other).norm()) <= TOLERANCE * (size + 1e-6) for one, other in zip(tried, expected, strict=True))


def _form(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a trial holds for: the function, its settings, the shapes of its tensors; None where no trial is possible."""
    if "c10d" in str(func):  # a collective: processes must call it equally often, and they may have tried different things before
        return None
    leaves, structure = pytree.flatten((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if not any(is_differentiable(tensor) and tensor.requires_grad for tensor in tensors) or sum(tensor.numel() for tensor in tensors) > LARGEST:
        return None
    if not all(type(tensor) in (Tensor, nn.Parameter, nn.Buffer) and tensor.layout is torch.strided for tensor in tensors):
        return None
    if any(tensor.is_meta or tensor.device != tensors[0].device for tensor in tensors if tensor.dim()):
        return None
    return func, str(structure), tuple(_kind(leaf) for leaf in leaves)


def _kind(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.shape, leaf.dtype, leaf.requires_grad, leaf.device.type
    return leaf if isinstance(leaf, (int, float, complex, str, torch.dtype, type(None))) else str(type(leaf))


def _has_derivative(result: Any) -> bool:
    outputs = [leaf for leaf in pytree.leaves(result) if isinstance(leaf, Tensor)]
    return any(output.grad_fn is not None for output in outputs) and sum(output.numel() for output in outputs) <= LARGEST


def _doubled(tensor: Tensor) -> Tensor:
    """A copy in double precision; on the CPU where the device has none."""
    tensor = tensor.detach() if has_float64(tensor.device) else tensor.detach().cpu()
    if not is_differentiable(tensor):
        return tensor.clone()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64, copy=True)


@contextmanager
def _as_if_nothing_had_happened(devices: Sequence[torch.device]) -> Iterator[None]:
    state = random_state(devices)
    try:
        with torch.enable_grad(), without_dispatch_modes():
            yield
    finally:
        set_random_state(state)


_TRIED: set[Any] = set()
"""The forms that were tried; of the process, since torch is the same in every model."""
