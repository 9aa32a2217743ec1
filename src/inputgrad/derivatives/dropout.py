"""Dropout inside ``torch.func.jvp``, with the mask of the pass outside.

On the CPU torch fills a mask in the order of the input's memory; inside a functorch transform it forgets that order (2.13). For an input that is not
contiguous, such as what ``nn.MultiheadAttention`` hands on, the same random state then gives another mask, and the derivative is that of another function:
wrong by 4 to 40 % on small encoders. Written out, the mask keeps the order. Other random operations of torch keep it by themselves.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.dropout`; on the CPU, drawn as outside of functorch."""
    if not training or not 0 < p < 1 or input.device.type != "cpu" or input.numel() == 0:  # elsewhere one kernel draws and multiplies
        return F.dropout(input, p, training, inplace)
    mask = torch.empty_like(input).bernoulli_(1 - p).div_(1 - p)
    return input.mul_(mask) if inplace else input * mask


def _torch_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    return dropout(input, p, train)


def _torch_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    return dropout(input, p, train, True)


WRITTEN_OUT: dict[Any, Callable[..., Tensor]] = {F.dropout: dropout, torch.dropout: _torch_dropout, torch.dropout_: _torch_dropout_}
