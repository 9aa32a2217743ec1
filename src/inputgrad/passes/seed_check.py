"""Whether a part of the backward pass is cut off from the second derivative, which torch says nothing of: the input gradient is linear in its seed.

    g(c) = c · ∂s/∂z        so ∂⟨g, v⟩/∂c = ⟨g, v⟩ for every v;  what is cut off is missing on the left        (v = g / ‖g‖² for each variable)

A backward written under ``torch.no_grad()``, one that detaches, and one that leaves torch are found so, whatever their names. What is linear in the seed
and yet wrong, such as an intermediate result that was saved as a constant, is not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from inputgrad.devices import length as length_of
from inputgrad.errors import EngineError
from inputgrad.heads import Score
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.input_gradient import nonlinearity
from inputgrad.torch_internals.autograd_graph import custom_functions, dtypes_between
from inputgrad.variables import Key


def linear_functional(gradient: Sequence[Tensor]) -> tuple[Tensor | None, int]:
    """Σ ⟨g, v⟩ with its graph, None where it has none, and what it is: one for each variable whose gradient is neither zero nor infinite."""
    parts, expected = [], 0
    for part in gradient:
        wide = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
        length = float(length_of(wide))  # in float32 a norm of millions of numbers is off by 1e-4
        if not 0 < length < float("inf"):
            continue
        expected += 1
        if part.requires_grad:
            parts.append((wide * (wide.detach() / length)).sum() / length)
    return (torch.stack(parts).sum() if parts else None), expected


def check_linear_in_seed(
    name: str, forward: ForwardPass, score: Score, wrt: tuple[Key, ...], gradient: Sequence[Tensor], by_seed: Tensor | None, expected: int
) -> None:
    """Raises `EngineError` where ``by_seed``, the derivative of Σ ⟨g, v⟩ in the seed, falls short of its value ``expected``.

    Silent where the gradient is not linear in its seed, as under hooks that clip it, or where it is zero but for rounding: then nothing follows.
    """
    told = 0.0 if by_seed is None else float(by_seed)
    off = abs(told - expected) / expected
    here = forward.primal()
    if not off > _tolerance(dtypes_between([here.output], [here.variables[key] for key in wrt])):
        return
    if not off > _MARGIN * nonlinearity(forward, score, wrt, gradient):
        return
    functions = custom_functions([here.output])
    raise EngineError(
        f"engine {name!r} cannot differentiate {type(forward.model).__name__} twice: a share of {off:.2g} of its backward pass is cut "
        f"off from the second derivative{f' (it uses the autograd.Function {chr(44).join(functions)})' if functions else ''}. A backward that runs under "
        "torch.no_grad(), detaches, or leaves torch does this, and so does a hook that calls autograd.grad without create_graph=True: write it in "
        "operations that can be differentiated. engine='finite_difference' needs first derivatives only, and engine='auto' takes one that works."
    )


_MARGIN = 100.0
"""How far above the rounding of the first derivative the misfit of the second must be."""


def _tolerance(dtypes: set[torch.dtype]) -> float:
    return max(min(0.25, max(1e-9, 1e3 * torch.finfo(dtype).eps)) for dtype in dtypes if dtype.is_floating_point)
