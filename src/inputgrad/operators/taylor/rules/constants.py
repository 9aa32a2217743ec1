"""Functions that have no derivative, and those that leave a jet as it is.

What a comparison, a rounding or ``detach`` gives is a constant of the pass, as it is for autograd: an ordinary tensor.
"""

from typing import Any

import torch
from torch import Tensor

from inputgrad.operators.taylor.jet import CONSTANTS, Jet, forms, rule_for

CONSTANTS.update(
    forms("detach", "item", "tolist", "argmax", "argmin", "argsort", "count_nonzero", "nonzero", "isnan", "isinf", "isfinite", "isclose", "allclose", "equal")
)
CONSTANTS.update(forms("gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "greater_equal", "less_equal", "not_equal", "__contains__"))
CONSTANTS.update(forms("logical_not", "logical_and", "logical_or", "logical_xor", "floor", "ceil", "round", "trunc", "sign", "sgn", "signbit", "heaviside"))
CONSTANTS.update(forms("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like", "any", "all", "bernoulli"))
CONSTANTS.update(forms("new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "is_complex", "is_nonzero", "nelement", "element_size"))
CONSTANTS.update(forms("__bool__", "__float__", "__int__", "__index__", "__gt__", "__lt__", "__ge__", "__le__", "__eq__", "__ne__", "__repr__", "__format__"))
CONSTANTS.update(forms("stride", "is_contiguous", "storage_offset", "get_device", "is_same_size", "is_inference", "numel", "dim", "size", "ndimension"))
CONSTANTS.update(forms("is_floating_point", "result_type", "broadcast_shapes", "searchsorted", "bucketize", "histc", "bincount", "is_signed"))
CONSTANTS.update(
    getattr(Tensor, name).__get__
    for name in ("data", "shape", "dtype", "device", "ndim", "layout", "is_cuda", "is_sparse", "is_quantized", "is_meta", "is_mps", "is_nested", "itemsize")
    if hasattr(Tensor, name)
)
CONSTANTS.update((Tensor.int, Tensor.long, Tensor.bool, Tensor.short, Tensor.byte))


@rule_for(Tensor.detach, torch.detach, Tensor.data.__get__)  # type: ignore[attr-defined]  # a getter of the class; for the stubs a tensor
def detach(func: Any, x: Jet) -> Tensor:
    x.shares = True
    detached: Tensor = func(x.value)
    return detached


CONSTANTS.difference_update((Tensor.detach, torch.detach, Tensor.data.__get__))  # type: ignore[attr-defined]  # likewise


@rule_for(Tensor.requires_grad_)
def requires_grad_(func: Any, x: Jet, requires_grad: bool = True) -> Jet:
    if not requires_grad:
        raise x.run.refuse("requires_grad_(False)")
    return x


@rule_for(*forms("clone"))
def clone(func: Any, x: Jet, **kwargs: Any) -> Jet:
    """Nothing is copied: what is written in place later goes into the jet (`elementwise.written`), not into this memory."""
    return Jet(x.value, x.blocks, x.run)


@rule_for(Tensor.contiguous)
def contiguous(func: Any, x: Jet, **kwargs: Any) -> Jet:
    value = x.value.contiguous(**kwargs)
    x.shares = x.shares or value is x.value
    return Jet(value, x.blocks, x.run, is_shared=x.shares)
