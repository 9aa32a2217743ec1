"""torch's own list of operations with sample arguments, ``op_db``: those that can be differentiated in float64, and what is taken of each.

Of every operation `SAMPLES` of its samples, spread over its list. Every tensor of a sample that requires grad is an input of the model; in every other
sample ("first") the first alone, and the others are parameters. The operation's in-place form is tried on its first sample ("in place").

Random operations belong to it: every evaluation starts from the same seed. So do complex results, whose real and imaginary parts are weighted. Complex
inputs do not: the library takes the gradient in floating-point inputs.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput
from torch.utils import _pytree as pytree

from tests.opdb.wrapped import Case, differentiable

SAMPLES = 12
DTYPE = torch.float64
LEFT_OUT = {
    "no derivative": "torch's list says that the operation has none (integer and boolean results, comparisons, constructors)",
    "complex inputs": "it has a derivative for complex inputs alone",
}


def why_left_out(info: OpInfo) -> str | None:
    """The key of `LEFT_OUT`, or None for an operation that is tried."""
    if not info.supports_autograd:
        return "no derivative"
    if DTYPE in info.supported_backward_dtypes("cpu"):
        return None
    return "complex inputs" if torch.complex128 in info.supported_backward_dtypes("cpu") else "no derivative"


OPERATIONS: dict[str, OpInfo] = {info.formatted_name: info for info in op_db if why_left_out(info) is None}


def cases(name: str) -> Iterator[Case]:
    """What is tried of an operation."""
    info = OPERATIONS[name]
    torch.default_generator.manual_seed(0)
    samples = list(enumerate(info.sample_inputs("cpu", DTYPE, requires_grad=True)))
    usable = [(n, sample) for n, sample in samples if _usable(sample)]
    for count, (n, sample) in enumerate(usable[:: math.ceil(len(usable) / SAMPLES) or 1]):
        case = Case(name, str(n), _function(info, sample), (sample.input, *sample.args), sample.kwargs)
        yield case.only_the_first() if count % 2 and _several(sample) else case
    if usable and info.inplace_variant is not None and info.supports_inplace_autograd:
        n, sample = usable[0]
        yield Case(name, f"{n}, in place", _function(info, sample, info.inplace_variant), (sample.input, *sample.args), sample.kwargs)


def _function(info: OpInfo, sample: SampleInput, operation: Any = None) -> Any:
    """The operation with what torch's own gradient tests do before it (an argument made symmetric) and after it (a result free of gauge)."""

    def function(*args: Any, **kwargs: Any) -> Any:
        return sample.output_process_fn_grad(info.gradcheck_wrapper(operation or info.op, *args, **kwargs))

    return function


def _usable(sample: SampleInput) -> bool:
    """Whether something can be differentiated: a dense tensor with elements requires grad."""
    tensors = [leaf for leaf in _leaves(sample) if isinstance(leaf, Tensor)]
    return all(leaf.layout == torch.strided for leaf in tensors) and any(differentiable(leaf) for leaf in tensors) and all(leaf.numel() for leaf in tensors)


def _several(sample: SampleInput) -> bool:
    return sum(differentiable(leaf) for leaf in _leaves(sample)) > 1


def _leaves(sample: SampleInput) -> list[Any]:
    leaves: list[Any] = pytree.tree_leaves((sample.input, sample.args, sample.kwargs))
    return leaves
