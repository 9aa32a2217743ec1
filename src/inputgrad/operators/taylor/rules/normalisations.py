"""Layer, group, instance and RMS normalisation written out, so that every order is exact; batch normalisation by running statistics; dropout."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.operators.taylor.jet import RULES, Jet, forms, jets_in, rule_for, value_of
from inputgrad.operators.taylor.rules.elementwise import written
from inputgrad.operators.taylor.rules.linear_maps import checked
from inputgrad.operators.taylor.rules.products import times


def standardised(x: Any, dims: Sequence[int], eps: float) -> Any:
    """(x − mean) / √(variance + ε) over these dimensions."""
    centred: Any = x - x.mean(dims, keepdim=True)
    variance: Any = times(centred, centred)
    return times(centred, (variance.mean(dims, keepdim=True) + eps).rsqrt())


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


def _dims(x: Jet, shape: Any) -> list[int]:
    return list(range(-(1 if isinstance(shape, int) else len(shape)), 0))


@rule_for(*forms("layer_norm"))
def layer_norm(func: Any, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enable: bool = True) -> Any:
    return _affine(standardised(checked(func, input), _dims(input, normalized_shape), eps), weight, bias)


@rule_for(*forms("rms_norm"))
def rms_norm(func: Any, input: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    x: Any = checked(func, input)
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    square: Any = times(x, x)
    return _affine(times(x, (square.mean(_dims(x, normalized_shape), keepdim=True) + eps).rsqrt()), weight, None)


def _by_channel(parameter: Any, x: Any) -> Any:
    return None if parameter is None else parameter.reshape(1, -1, *[1] * (x.dim() - 2))


@rule_for(*forms("group_norm"))
def group_norm(func: Any, input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, cudnn_enabled: bool = True) -> Any:
    x: Any = checked(func, input)
    grouped = standardised(x.reshape(x.shape[0], num_groups, -1), [2], eps).reshape(x.shape)
    return _affine(grouped, _by_channel(weight, x), _by_channel(bias, x))


@rule_for(F.instance_norm)
def instance_norm(
    func: Any, input: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    x: Any = checked(func, input)
    if not use_input_stats:
        return _by_statistics(x, running_mean, running_var, weight, bias, eps)
    if running_mean is not None:
        raise x.run.refuse("instance normalisation that updates running statistics has no rule")
    return _affine(standardised(x, list(range(2, x.dim())), eps), _by_channel(weight, x), _by_channel(bias, x))


@rule_for(torch.instance_norm)
def instance_norm_kernel(
    func: Any, input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool, momentum: float, eps: float,
    cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    """The arguments in the order of the kernel, which `F.instance_norm` calls."""
    return instance_norm(func, input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


@rule_for(F.batch_norm)
def batch_norm(
    func: Any, input: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None, training: bool = False, momentum: float = 0.1,
    eps: float = 1e-5, cudnn_enabled: bool = True,
) -> Any:  # fmt: skip
    x: Any = checked(func, input)
    if training or running_mean is None:
        raise x.run.refuse("batch normalisation by the batch's own statistics couples the samples")
    return _by_statistics(x, running_mean, running_var, weight, bias, eps)


@rule_for(torch.batch_norm)
def batch_norm_kernel(
    func: Any, input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool, momentum: float, eps: float, cudnn_enabled: bool = True
) -> Any:
    """The arguments in the order of the kernel, which `F.batch_norm` calls."""
    return batch_norm(func, input, running_mean, running_var, weight, bias, training, momentum, eps)


def _by_statistics(x: Any, mean: Tensor, variance: Tensor, weight: Any, bias: Any, eps: float) -> Any:
    scale = torch.rsqrt(variance + eps) if weight is None else torch.rsqrt(variance + eps) * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    return x * _by_channel(scale, x) + _by_channel(shift, x)


def _dropout(name: str) -> Any:
    """The mask is drawn as the function draws it for the value alone, so the same random state gives the same mask."""
    plain = getattr(F, name)

    def rule(func: Any, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False, **kwargs: Any) -> Any:
        training = kwargs.pop("train", training)
        x = checked(func, input, *kwargs.values())
        if not training or p == 0:
            return x
        dropped = times(x, plain(torch.ones_like(value_of(x).detach()), p, True))
        return written(x, dropped) if inplace else dropped

    return rule


for _name in ("dropout", "dropout1d", "dropout2d", "dropout3d"):
    RULES.update(dict.fromkeys(forms(_name), _dropout(_name)))


@rule_for(*forms("alpha_dropout", "feature_alpha_dropout"))
def alpha_dropout(func: Any, input: Any, p: float = 0.5, training: bool = False, *args: Any, **kwargs: Any) -> Any:
    if kwargs.get("train", training) and p:
        raise jets_in(input)[0].run.refuse("alpha dropout has no rule")
    return input
