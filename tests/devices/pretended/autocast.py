"""Autocast of the pretended device, which torch leaves to backends: operations that run in the lower precision and in float32, as on other devices."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tests.devices.pretended.watch import NAME

LOWER = ("linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "conv1d", "conv2d", "scaled_dot_product_attention")
FLOAT32 = (
    "mse_loss",
    "l1_loss",
    "huber_loss",
    "smooth_l1_loss",
    "binary_cross_entropy_with_logits",
    "nll_loss",
    "cross_entropy_loss",
    "layer_norm",
    "group_norm",
)
_KEYS = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.float16, torch.bfloat16) else value


def _called(operation: Any, dtype: torch.dtype | None, *args: Any, **kwargs: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(_KEYS):
        args, kwargs = pytree.tree_map(partial(_cast, dtype=dtype or torch.get_autocast_dtype(NAME)), (args, kwargs))
        return operation(*args, **kwargs)


def switch_on() -> tuple[torch.library.Library, ...]:
    """To be kept: the operations are cast as long as these live."""
    others, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in (*LOWER, *FLOAT32):
        operation = getattr(torch.ops.aten, name).default
        own.impl(name, partial(_called, operation, None if name in LOWER else torch.float32), "AutocastPrivateUse1")
    return others, own
