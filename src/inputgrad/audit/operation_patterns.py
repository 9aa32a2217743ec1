"""How rules read what was done with an input gradient: the operations by what they mean, in the order of the run. Judges nothing."""

import math
from collections.abc import Iterator
from dataclasses import replace

from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import LiveTerm, Operation

NORMS = {"norm", "linalg_norm", "linalg_vector_norm", "vector_norm"}
ROOTS = {"sqrt", "sqrt_", "rsqrt"}
SQUARES = {"square", "square_"}
POWERS = {"pow", "__pow__", "pow_", "float_power"}
TIMES = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"}
OVER = {"div", "div_", "__truediv__", "__itruediv__", "__rdiv__", "true_divide", "divide"}
MINUS = {"sub", "sub_", "__sub__", "__rsub__", "rsub", "__isub__", "subtract"}
PLUS = {"add", "add_", "__add__", "__radd__", "__iadd__"}
LOSSES = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
DIRECTIONS = {"cosine_similarity", "normalize", "sign", "sgn", "sign_"}


def trained(facts: Facts) -> Iterator[tuple[GradientCall, LiveTerm]]:
    """The input gradients that a loss depends on, with their graph, where the loss's gradients were stepped along.

    Those of torch.func are left out: what was differentiated, a mean or a sum or a field, is not seen inside a transform.
    """
    stepped = (call for call in facts.calls if call.kind == "backward" and call.fate.stepped)
    return ((call, live) for call in stepped for live in call.graph.live_terms if not live.gradient.call.request.transform)


def in_the_loss(live: LiveTerm) -> InputGradient:
    """The input gradient with those operations alone that lead to the loss: what is only printed, logged or watched is no term."""
    return replace(live.gradient, operations=list(live.operations))


def is_norm(operation: Operation) -> bool:
    return operation.name in NORMS


def is_root(operation: Operation) -> bool:
    return operation.name in ROOTS or (operation.name in POWERS and 0.5 in operation.numbers)


def is_square(operation: Operation) -> bool:
    return (
        operation.name in SQUARES
        or operation.name == "mse_loss"
        or (operation.name in POWERS and 2.0 in operation.numbers)
        or (operation.name in TIMES and not operation.numbers)
    )


def sums_rows(gradient: InputGradient) -> bool:
    """Whether the source's first dimension counts samples that the root is a sum or mean over."""
    call, count = gradient.call, gradient.samples
    return count > 1 and (call.root.mean_over == count or call.root.values[:1] == (count,))


def norm_uses(gradient: InputGradient) -> Iterator[tuple[int, Operation, tuple[int, ...]]]:
    """Position, use and the shape it ran over, of each norm: as one operation, or as the root of a sum."""
    for position, operation in enumerate(gradient.operations):
        if is_norm(operation):
            yield position, operation, operation.shape
        elif is_root(operation):
            summed = next((earlier for earlier in reversed(gradient.operations[:position]) if earlier.name in ("sum", "mean")), None)
            if summed is not None and summed.result == operation.shape:
                yield position, summed, summed.shape


def target(gradient: InputGradient, position: int) -> float | None:
    """The number that a norm is compared with: subtracted from it, or by a loss (then 1, which nobody says otherwise of)."""
    shape = gradient.operations[position].result
    for operation in gradient.operations[position + 1 :]:
        if operation.shape == shape and operation.name in MINUS and any(operation.numbers):
            return abs(next(value for value in operation.numbers if value))
        if operation.shape == shape and operation.name in LOSSES:
            return 1.0
    return None


def mixed(operations: list[Operation], shape: tuple[int, ...]) -> bool:
    """Whether another tensor of the gradient's size was added or subtracted: a residual, a difference from a target."""
    return any(operation.name in MINUS | PLUS and not operation.numbers and math.prod(operation.shape) == math.prod(shape) for operation in operations)


def times(gradient: InputGradient, factor: float) -> bool:
    """Whether something on the way was multiplied by the factor, or divided by its inverse."""
    wanted = [(TIMES, factor), (OVER, 1 / factor)]
    return any(
        operation.name in names and any(math.isclose(abs(value), number, rel_tol=1e-3) for value in operation.numbers)
        for names, number in wanted
        for operation in gradient.operations
    )
