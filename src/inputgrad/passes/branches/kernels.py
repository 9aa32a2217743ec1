"""Decisions that no rule of `branches` sees: those of kernels that scripted functions call, and functions of torch that are made of others in C++.

While active around a replayed pass, every kernel that decides something and runs outside of a rule is noted by name. Kernels on tensors that do not depend
on inputs or parameters decide alike in every pass.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import unseen_by_modes
from inputgrad.torch_internals.tracing import TorchDispatchMode

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape


class DecidingKernels(TorchDispatchMode):
    """Notes the first kernel that decides out of the tape's sight."""

    supports_higher_order_operators = True

    def __init__(self, tape: "BranchTape") -> None:
        super().__init__()
        self._tape = tape
        self.noted: str | None = None
        """In words: the kernel, and the function of torch that called it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if self.noted is None and not self._tape.under_rule and _decides(func, args):
            called_by = getattr(self._tape.function, "__name__", None)
            # a scripted function runs without a graph, and its derivative is made elsewhere
            if called_by not in _GUARDS and _reads_numbers((args, kwargs), in_graph=called_by is not None):
                self.noted = f"{_name(func)} (called by {called_by or 'a scripted function or a kernel'})"
        with unseen_by_modes():
            return func(*args, **(kwargs or {}))


class DecisionsInBackward(TorchFunctionMode):
    """Notes, around a backward pass, the first decision that Python takes there anew: the backward of a custom Function, or a hook. No tape sees these."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: str | None = None
        """In words: the function of torch that decides."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        name = str(getattr(func, "__name__", "")).strip("_")
        if self.noted is None and name in _ALWAYS and _reads_numbers((args, kwargs), in_graph=False):
            self.noted = f"the backward pass of a custom autograd.Function or a hook (by {name})"
        return func(*args, **(kwargs or {}))


def _name(func: Any) -> str:
    return str(getattr(getattr(func, "_schema", None), "name", "")).removeprefix("aten::")


def _decides(func: Any, args: tuple[Any, ...]) -> bool:
    name = _name(func)
    if name in _ORDER_AT:
        at = _ORDER_AT[name]
        return len(args) > at and args[at] in (1, math.inf, -math.inf)
    if name.removesuffix("_") in _REDUCTIONS:
        return any(isinstance(value, str) and value in ("amax", "amin", "max", "min") for value in args)
    return name in _ALWAYS


def _reads_numbers(arguments: Any, *, in_graph: bool) -> bool:
    return any(isinstance(value, Tensor) and value.is_floating_point() and (value.requires_grad or not in_graph) for value in pytree.leaves(arguments))


def _with_in_place(names: Iterable[str]) -> frozenset[str]:
    return frozenset(form for name in names for form in (name, f"{name}_"))


_ORDER_AT = {"linalg_vector_norm": 1, "norm": 1, "_cdist_forward": 2, "_pdist_forward": 1}
"""Kernel -> the place of the order, of which 1 and infinity decide."""
_REDUCTIONS = ("scatter_reduce", "index_reduce", "segment_reduce")
"""Kernels that are told by name how to reduce."""
_GUARDS = ("cosine_similarity", "linalg_pinv", "pinverse")
"""Functions of torch that decide against dividing by zero, and nothing else."""
_ACTIVATIONS = "relu leaky_relu _prelu_kernel hardtanh hardsigmoid hardswish threshold softshrink hardshrink clamp clamp_min clamp_max abs copysign renorm"
_STEPS = "sign sgn floor ceil round trunc frac fmod remainder heaviside gt lt ge le bucketize searchsorted"
_CHOICES = "argmax argmin argsort sort topk kthvalue median nanmedian mode _cummax_helper _cummin_helper max min amax amin aminmax maximum minimum fmax fmin"
_POOLS = "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d"
_LOSSES = "multi_margin_loss multilabel_margin_loss_forward"
_ALWAYS = _with_in_place(" ".join((_ACTIVATIONS, _STEPS, _CHOICES, _POOLS, _LOSSES)).split())
