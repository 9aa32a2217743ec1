"""Random draws of a tensor's shape, in the order of its indices.

`torch.rand_like` draws in the order of the memory, and an engine may lay images out otherwise (channels last): the same seed would give other draws.
"""

import torch
from torch import Tensor


def uniform_like(x: Tensor) -> Tensor:
    """U(0, 1), of the shape, type and device of ``x``."""
    return torch.rand(x.shape, dtype=x.dtype, device=x.device)


def normal_like(x: Tensor) -> Tensor:
    """N(0, 1), of the shape, type and device of ``x``."""
    return torch.randn(x.shape, dtype=x.dtype, device=x.device)
