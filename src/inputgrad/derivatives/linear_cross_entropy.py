"""Cross-entropy of a linear layer in chunks (torch 2.13 and later), in one piece: the chunked form's second derivative is wrong.

With ``options=`` torch works through the batch in chunks and computes the gradients in the forward pass, where their own derivatives are cut off: silently 4 to
5 % off in the second derivative (torch 2.13). Without, it is a linear layer and a cross-entropy, right to any order. Must not know of models, engines or terms.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated

_TORCHS: Any = getattr(F, "linear_cross_entropy", None)


def linear_cross_entropy(_phase: BackwardTarget, input: Tensor, linear_weight: Tensor, target: Tensor, *, options: Any = None, **settings: Any) -> Any:
    """``torch.nn.functional.linear_cross_entropy``."""
    if options is None or not differentiated(input, linear_weight, target):
        return NotImplemented
    return _TORCHS(input, linear_weight, target, **settings)


SUBSTITUTES: dict[Any, Substitute] = {} if _TORCHS is None else {_TORCHS: linear_cross_entropy}
