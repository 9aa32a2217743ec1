"""Putting our second derivatives in place: while the model runs forward, the operations that have one are exchanged for our own.

An operation of ours is a pair of ``torch.autograd.Function``: the operation, whose backward pass (under create_graph) applies the second, the
operation's derivative with respect to its input; and that one's backward pass is written by hand. What an operation's file does not cover
(an argument, a dtype, a weight that is no leaf) falls through to torch's own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.distributed.joined import is_joined
from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from inputgrad.torch_internals.checkpoints import recomputed_in
from inputgrad.torch_internals.functorch import is_transforming


class BackwardTarget:
    """Which backward pass of a step is running: what a Function written in Python cannot see where autograd's engine does not tell.

    only_input: the input gradient alone is wanted. Leaf weights then get none, and cost none; autograd would have thrown it away.
    """

    def __init__(self) -> None:
        self.only_input = False
        self.has_exchanged = False
        """Whether an operation was called that has a substitute, but those that were left to torch for their size alone."""
        self.has_mended = False
        """Whether one of them was called whose substitute may be differentiated to any order: those of which torch's derivatives are wrong or missing."""
        self.left_small = False
        """Whether a tensor was too small for a substitute to gain anything."""

    @contextmanager
    def input_gradient(self) -> Iterator[None]:
        """Around the backward pass that gives the input gradient."""
        self.only_input = True
        try:
            with twice_differentiable_from_local():
                yield
        finally:
            self.only_input = False


Substitute = Callable[..., Any]
"""Called as ``substitute(phase, *args, **kwargs)`` with the arguments of the function that it stands for; NotImplemented where it does not cover them."""


class SecondDerivatives(TorchFunctionMode):
    """While active, the functions that have a substitute run as it, in the given phase.

    any_order: only those substitutes that can be differentiated to any order.
    """

    def __init__(self, phase: BackwardTarget, *, any_order: bool = False) -> None:
        super().__init__()
        self._phase = phase
        self._any_order = any_order
        self._substitutes, self._least = (OF_ANY_ORDER, {}) if any_order else (SUBSTITUTES, LEAST_NUMBERS)

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func not in self._substitutes and func not in BEFORE:
            return func(*args, **kwargs) if kwargs else func(*args)
        if (least := self._least.get(func)) is not None and args and type(args[0]) is Tensor and args[0].numel() < least:
            self._phase.left_small = True
            return func(*args, **kwargs) if kwargs else func(*args)
        phase, kwargs = self._phase, kwargs or {}
        if func in BEFORE:
            phase.has_exchanged = True
            BEFORE[func](*args, **kwargs)
        substitute = self._substitutes.get(func)
        if substitute is not None and _ordinary(types) and recomputed_in(self._again):
            phase.has_mended |= func in OF_ANY_ORDER
            before, phase.left_small = phase.left_small, False
            result = substitute(phase, *args, **kwargs)
            phase.has_exchanged |= result is not NotImplemented or not phase.left_small
            phase.left_small |= before
            if result is not NotImplemented:
                return result
        elif substitute is not None:
            phase.has_exchanged = True
        return func(*args, **kwargs)

    def __enter__(self) -> "SecondDerivatives":
        self._held = twice_differentiable_from_local() if is_joined() else None
        if self._held is not None:
            self._held.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        if self._held is not None:
            self._held.__exit__(*raised)

    def _again(self) -> "SecondDerivatives":
        return SecondDerivatives(self._phase, any_order=self._any_order)


SUBSTITUTES: dict[Any, Substitute] = {}
"""torch's function -> ours, gathered from the files of this folder."""

OF_ANY_ORDER: dict[Any, Substitute] = {}
"""Those of them that are written in operations which torch differentiates rightly to any order."""

LEAST_NUMBERS: dict[Any, int] = {}
"""torch's function -> how many numbers its first argument must hold for a substitute to gain anything, where that is all it depends on."""

BEFORE: dict[Any, Callable[..., None]] = {}
"""torch's function -> what is done, with its arguments, before it is called; inside a transform of ``torch.func`` too."""


def _ordinary(types: Any) -> bool:
    """Whether autograd alone is at work: no tensor type with rules of its own, no functorch transform, which refuses Functions of our form."""
    return _PLAIN.issuperset(types) and not is_transforming()


_PLAIN = frozenset((Tensor, nn.Parameter, nn.Buffer))
