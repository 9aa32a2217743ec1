"""How coarse the numbers of a pass are: the rounding ε that a difference of two passes has to be far above.

A model may go through a lower precision and come back: by a cast, by autocast of its own, in the forward of a custom Function. The coarsest type between
the variables and the output counts; what is computed from parameters or constants alone is rounded alike in both passes, and does not.
"""

from collections.abc import Iterable

import torch

from inputgrad.heads import Score
from inputgrad.memory import memory
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.second_derivative import Named, signature
from inputgrad.torch_internals.autograd_graph import dtypes_between
from inputgrad.torch_internals.tracing import is_tracing

HALF = 1e-4
"""A rounding above this is that of half precision."""


def dtypes_inside(engine: Named, forward: ForwardPass, score: Score) -> frozenset[torch.dtype]:
    """The types between the variables and the output, read from the first graph that the engine meets of this model in this form."""
    if is_tracing():
        return frozenset()
    key = ("dtypes", signature(engine, forward, score))
    known = memory(forward.model).measured
    if key not in known:
        here = forward.primal()
        known[key] = frozenset(dtypes_between([here.output], here.variables.values()) | forward.dtypes_of_functions)
    found: frozenset[torch.dtype] = known[key]
    return found


def rounding(dtypes: Iterable[torch.dtype]) -> float:
    """That of the coarsest type. Half precision sums in float32, and its rounding is nearer a quarter of its ε."""
    return max(torch.finfo(dtype).eps / (4 if dtype.itemsize == 2 else 1) for dtype in dtypes if dtype.is_floating_point or dtype.is_complex)
