"""Matrix exponentials, whose derivative torch rounds by the size of the gradient that comes in: to four digits where that is 1e8, in float64.

    gA = c · the upper right block of exp [[Aᵀ, G/c], [0, Aᵀ]]        c = ‖G‖ / ‖A‖, a constant

torch takes c = 1; then ‖G‖ decides how often the block matrix is halved and squared again. Any order. Must not know of models, engines or terms.
"""

from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated
from inputgrad.torch_internals.functorch import is_transforming


def matrix_exp(_phase: BackwardTarget, input: Tensor) -> Any:
    """``torch.linalg.matrix_exp``."""
    if not input.is_floating_point() or not differentiated(input) or is_transforming():
        return NotImplemented
    return _Exponential.apply(input)


class _Exponential(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return torch.linalg.matrix_exp(a)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        size = a.shape[-1]
        lengths = [torch.linalg.matrix_norm(x.detach(), keepdim=True) for x in (g, a)]
        c = torch.where(lengths[0] > 0, lengths[0], 1) / torch.where(lengths[1] > 0, lengths[1], 1)
        upper, lower = torch.cat([a.mT, g / c], -1), torch.cat([torch.zeros_like(a), a.mT], -1)
        both: Tensor = _Exponential.apply(torch.cat([upper, lower], -2))
        return both[..., :size, size:] * c


SUBSTITUTES: dict[Any, Substitute] = dict.fromkeys((torch.matrix_exp, torch.linalg.matrix_exp, Tensor.matrix_exp), matrix_exp)
