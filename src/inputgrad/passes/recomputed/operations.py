"""Which operations of torch may be run again: the cheap ones, and the matrix products of a backward pass. None that draws random numbers or writes."""

from functools import cache
from typing import Any

from inputgrad.torch_internals.operations import full_name, is_elementwise, is_pure, is_view

_CHEAP = {
    *("aten::native_layer_norm", "aten::native_layer_norm_backward", "aten::native_group_norm", "aten::native_group_norm_backward"),
    *("aten::native_batch_norm_backward", "aten::_softmax", "aten::_softmax_backward_data", "aten::_log_softmax", "aten::_log_softmax_backward_data"),
    *("aten::clone", "aten::_to_copy", "aten::cat", "aten::stack", "aten::repeat", "aten::constant_pad_nd", "aten::slice_backward", "aten::select_backward"),
    *("aten::sum", "aten::mean", "aten::avg_pool2d", "aten::avg_pool2d_backward", "aten::upsample_nearest2d", "aten::upsample_nearest2d_backward"),
}
_PIECEWISE = {"aten::threshold_backward", "aten::leaky_relu_backward", "aten::hardtanh_backward"}
_LINEAR = _PIECEWISE | {
    *("aten::add", "aten::clone", "aten::_to_copy", "aten::neg", "aten::sum"),
    *("aten::cat", "aten::stack", "aten::constant_pad_nd", "aten::slice_backward", "aten::select_backward", "aten::avg_pool2d_backward"),
}
_PRODUCTS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::convolution_backward"}


@cache
def is_cheap(operation: Any) -> bool:
    """Whether its arithmetic is nothing beside that of a matrix product: elementwise, a normalisation, a sum, a change of shape."""
    return is_pure(operation) and (is_elementwise(operation) or is_view(operation) or full_name(operation) in _CHEAP)


@cache
def is_product(operation: Any) -> bool:
    """Whether it is a matrix product, or gives the gradients of a convolution."""
    return is_pure(operation) and full_name(operation) in _PRODUCTS


@cache
def is_linear(operation: Any) -> bool:
    """Whether it is linear in what a backward pass brings, and has no derivative in anything else."""
    return is_pure(operation) and (is_product(operation) or is_view(operation) or full_name(operation) in _LINEAR)


@cache
def is_piecewise(operation: Any) -> bool:
    """Whether it is the backward pass of a ReLU or its like, through which the second backward pass owes nothing to the first run's numbers.

    Of a SiLU it owes as much as was not held, so that nothing is gained there by making matrix products again.
    """
    return full_name(operation) in _PIECEWISE
