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

from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from inputgrad.torch_internals.checkpoints import recomputed_in
from inputgrad.torch_internals.functorch import is_transforming


class BackwardTarget:
    """Which backward pass of a step is running: what a Function written in Python cannot see where autograd's engine does not tell.

    only_input: the input gradient alone is wanted. Leaf weights then get none, and cost none; autograd would have thrown it away.
    """

    def __init__(self) -> None:
        self.only_input = False

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
    """While active, the functions that have a substitute run as it, in the given phase."""

    def __init__(self, phase: BackwardTarget) -> None:
        super().__init__()
        self._phase = phase

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        substitute = SUBSTITUTES.get(func)
        if substitute is not None and _ordinary(types) and recomputed_in(self._again):
            result = substitute(self._phase, *args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> "SecondDerivatives":
        self._held = twice_differentiable_from_local()
        self._held.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        super().__exit__(*raised)
        self._held.__exit__(*raised)

    def _again(self) -> "SecondDerivatives":
        return SecondDerivatives(self._phase)


SUBSTITUTES: dict[Any, Substitute] = {}
"""torch's function -> ours, gathered from the files of this folder."""


def _ordinary(types: Any) -> bool:
    """Whether autograd alone is at work: no tensor type with rules of its own, no functorch transform, which refuses Functions of our form."""
    return all(kind in _PLAIN for kind in types) and not is_transforming()


_PLAIN = (Tensor, nn.Parameter, nn.Buffer)
