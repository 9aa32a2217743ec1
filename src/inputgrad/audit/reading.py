"""How rules read what was done with an input gradient: the operations by what they mean, in the order of the run."""

import math
from collections.abc import Iterator

from inputgrad.audit.facts import Facts, GradientCall, Reached, Source
from inputgrad.audit.trails import Use

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


def trained(facts: Facts) -> Iterator[tuple[GradientCall, Reached]]:
    """The input gradients that a loss depends on, with their graph, where the loss's gradients were stepped along.

    Those of torch.func are left out: what was differentiated, a mean or a sum or a field, is not seen inside a transform.
    """
    stepped = (call for call in facts.calls if call.kind == "backward" and call.stepped)
    return ((call, reached) for call in stepped for reached in call.alive if not reached.source.call.transform)


def is_norm(use: Use) -> bool:
    return use.name in NORMS


def is_root(use: Use) -> bool:
    return use.name in ROOTS or (use.name in POWERS and 0.5 in use.numbers)


def is_square(use: Use) -> bool:
    return use.name in SQUARES or use.name == "mse_loss" or (use.name in POWERS and 2.0 in use.numbers) or (use.name in TIMES and not use.numbers)


def sums_rows(source: Source) -> bool:
    """Whether the source's first dimension counts samples that the root is a sum or mean over."""
    call, count = source.call, source.samples
    return count > 1 and (call.mean_over == count or call.values[:1] == (count,))


def norm_uses(source: Source) -> Iterator[tuple[int, Use, tuple[int, ...]]]:
    """Position, use and the shape it ran over, of each norm: as one operation, or as the root of a sum."""
    for position, use in enumerate(source.uses):
        if is_norm(use):
            yield position, use, use.shape
        elif is_root(use):
            summed = next((earlier for earlier in reversed(source.uses[:position]) if earlier.name in ("sum", "mean")), None)
            if summed is not None and summed.result == use.shape:
                yield position, summed, summed.shape


def target(source: Source, position: int) -> float | None:
    """The number that a norm is compared with: subtracted from it, or by a loss (then 1, which nobody says otherwise of)."""
    shape = source.uses[position].result
    for use in source.uses[position + 1 :]:
        if use.shape == shape and use.name in MINUS and any(use.numbers):
            return abs(next(value for value in use.numbers if value))
        if use.shape == shape and use.name in LOSSES:
            return 1.0
    return None


def mixed(uses: list[Use], shape: tuple[int, ...]) -> bool:
    """Whether another tensor of the gradient's size was added or subtracted: a residual, a difference from a target."""
    return any(use.name in MINUS | PLUS and not use.numbers and math.prod(use.shape) == math.prod(shape) for use in uses)


def times(source: Source, factor: float) -> bool:
    """Whether something on the way was multiplied by the factor, or divided by its inverse."""
    wanted = [(TIMES, factor), (OVER, 1 / factor)]
    return any(
        use.name in names and any(math.isclose(abs(value), number, rel_tol=1e-3) for value in use.numbers) for names, number in wanted for use in source.uses
    )
