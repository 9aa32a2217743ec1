"""What a model computes under ``torch.no_grad()``: its values at x, since they are constants to autograd.

Where a result was made from tensors in the graph it is replayed; what is made from those results is then the same without being kept. Questions for a
type, a device or a shape have no value to replay.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from inputgrad.passes.branches.rules import VALUES
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.function_modes import writes_to

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape


def under_no_grad(tape: "BranchTape", func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The call with its value at x. The function runs in replays too, so that the random state after it is the same.

    What stays in the graph, since it is an argument handed back (``contiguous``, ``to``), is no constant.
    """
    written = writes_to(func, args, kwargs)
    tensors = [value for value in pytree.leaves((args, kwargs)) if isinstance(value, Tensor)]
    if any(map(is_lazy, tensors)):  # a lazy module makes its parameters
        return func(*args, **kwargs)
    key = (func, *((tuple(value.shape), value.dtype) for value in tensors))
    if written:
        if any(_in_graph(tape, one) for one in written):
            tape.unseen = "what it writes under no_grad"
            return func(*args, **kwargs)
        args, kwargs = pytree.map_only(Tensor, lambda value: value if any(value is one for one in written) else _at_x(tape, key, value), (args, kwargs))
        return func(*args, **kwargs)
    if func in VALUES and args and isinstance(args[0], Tensor):
        return func(_at_x(tape, key, args[0]), *args[1:], **kwargs)
    result = func(*args, **kwargs)
    found = [value for value in pytree.leaves(result) if isinstance(value, Tensor)]
    if not found:
        return result
    kept = tape.constant(key, lambda: [None if _in_graph(tape, value) else value.clone() for value in found] if _any_in_graph(tape, (args, kwargs)) else None)
    if kept is None or not tape.recorded:
        return result
    remaining = iter(kept)
    return pytree.map_only(Tensor, lambda value: value if (at_x := next(remaining)) is None else at_x.clone(), result)


def _at_x(tape: "BranchTape", key: Any, value: Tensor) -> Tensor:
    kept = tape.constant((*key, "argument"), lambda: value.detach().clone() if _in_graph(tape, value) else None)
    return value if kept is None or not tape.recorded else kept.clone()


def _any_in_graph(tape: "BranchTape", arguments: Any) -> bool:
    return any(isinstance(value, Tensor) and _in_graph(tape, value) for value in pytree.leaves(arguments))


def _in_graph(tape: "BranchTape", value: Tensor) -> bool:
    """Whether it was computed from what is differentiated, inputs or parameters, or is a parameter that moves.

    In a displaced pass the input requires no grad: this is asked at x alone.
    """
    return value.requires_grad and (tape.parameters_move or not value.is_leaf)
