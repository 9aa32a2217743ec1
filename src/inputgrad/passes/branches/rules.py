"""The rules of `branches`: functions of torch with their decisions taken from the tape. Signatures follow torch's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inputgrad.derivatives.matrix_exp import matrix_exp
from inputgrad.derivatives.substitution import BackwardTarget
from inputgrad.passes.branches.choices import chosen, extreme, larger, pool
from inputgrad.passes.branches.grid_sample import grid_sample
from inputgrad.passes.branches.norms import (
    cdist,
    distance,
    division,
    linalg_norm,
    magnitude,
    norm,
    pdist,
    remainder,
    sides,
    signed,
    step,
    without_slope,
    writes_in_place,
)
from inputgrad.passes.constants import DETACHING
from inputgrad.torch_internals.function_modes import homes_of_functions

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape

Rule = Callable[["BranchTape", Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""How one function is run under a tape: (tape, function, args, kwargs) -> its result."""


def _sides(piece: Callable[..., Tensor], side: Callable[..., Tensor]) -> Rule:
    """An elementwise function of two pieces: ``piece(mask, x, ...)``, with ``side(x, ...)`` deciding the mask."""

    def rule(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        in_place = bool(kwargs.pop("inplace", False)) or writes_in_place(func)
        x, *rest = args if args else (kwargs.pop("input"),)
        given = x
        x = x.clone() if in_place else x  # what its graph keeps is not to be written over
        rest = [value for value in rest if not isinstance(value, bool)]  # inplace given by position
        result = piece(tape.decide(lambda: side(x, *rest, **kwargs)), x, *rest, **kwargs)
        return given.copy_(result) if in_place else result

    return rule


def _constant(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function whose result is the decision: comparisons, argmax."""
    if not writes_in_place(func):
        return tape.decide(lambda: func(*args, **kwargs))
    x, *rest = args
    return x.copy_(tape.decide(lambda: func(x.detach().clone(), *rest, **kwargs)))


def _step(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function of torch that is constant between its jumps, such as floor."""
    x = args[0] if args else kwargs["input"]
    if x.is_complex():  # the sign of a complex number is smooth
        return func(*args, **kwargs)
    return step(tape, func, args, kwargs)


def _detached(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A constant: its value at x. A parameter is the same in every pass, unless it is what moves."""
    found = func(*args, **kwargs)
    return found if isinstance(args[0], nn.Parameter) and not tape.parameters_move else kept_value(tape, found)


def kept_value(tape: "BranchTape", value: Tensor) -> Tensor:
    """A constant: ``value`` itself while recording, and later what it was then. In copies, since a model may go on working in place."""
    at_x = tape.decide(value.clone)
    return at_x.clone() if tape.recorded else value


def _number(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A Python number or bool made of a tensor."""
    return func(tape.decide(lambda: args[0].detach().clone()), *args[1:], **kwargs)


def _answer(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A question whose answer is a Python bool."""
    return tape.remember(lambda: func(*args, **kwargs))


def _cast(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A conversion, which decides where it leaves the floating-point numbers, complex ones among them."""
    found = func(*args, **kwargs)
    return found if found.is_floating_point() or found.is_complex() else tape.decide(lambda: found)


def _clamp(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x, low, high = _bounds(func, args, kwargs)
    result = x
    if low is not None:
        result = torch.where(tape.decide(lambda: x < low), _like(low, x), result)
    if high is not None:
        raised = result  # where the bounds cross, the upper one holds
        result = torch.where(tape.decide(lambda: raised > high), _like(high, x), raised)
    return x.copy_(result) if writes_in_place(func) else result


def _bounds(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Any, Any]:
    names = {"clamp_min": ("input", "min"), "clamp_max": ("input", "max")}.get(func.__name__.rstrip("_"), ("input", "min", "max"))
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return given["input"], given.get("min"), given.get("max")


def _hardtanh(mask: Tensor, x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return torch.where(mask == 0, x, torch.where(mask < 0, min_val, max_val).to(x.dtype))


def _hardtanh_side(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return (x >= max_val).to(torch.int8) - (x <= min_val).to(torch.int8)


def _slope(x: Tensor, weight: Tensor) -> Tensor:
    return weight if weight.numel() == 1 or x.dim() < 2 else weight.view(1, -1, *[1] * (x.dim() - 2))


def _rrelu(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The random slopes are the decision. The function runs in replays too, so that the random state after it is the same."""
    settings = dict(zip(("input", "lower", "upper", "training", "inplace"), args, strict=False)) | kwargs
    in_place = bool(settings.pop("inplace", False)) or writes_in_place(func)
    x = settings["input"]
    drawn = F.rrelu(**{**settings, "input": x.detach().clone()})
    result = x * tape.decide(lambda: torch.where(x < 0, drawn / x, 1))
    return x.copy_(result) if in_place else result


def _l1(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    settings = dict(zip(("input", "target", "size_average", "reduce", "reduction"), args, strict=False)) | kwargs
    difference = settings["input"] - settings["target"]
    size = magnitude(tape, difference)
    reduction = settings.get("reduction", "mean")
    return size if reduction == "none" else size.sum() if reduction == "sum" else size.mean()


def _matrix_exp(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """No decision: torch rounds its derivative by the size of the gradient that comes in, which a difference divides by its step."""
    found = matrix_exp(BackwardTarget(), *args, **kwargs)
    return func(*args, **kwargs) if found is NotImplemented else found


def _fake_quantize(kernel: Any) -> Rule:
    """Rounding to a grid, straight through: x plus the rounding at x, and the value at x where it is out of range."""

    def rule(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x, *settings = [*args, *kwargs.values()]
        if any(isinstance(value, Tensor) and value.requires_grad for value in settings):
            return func(*args, **kwargs)
        at_x = tape.remember(lambda: [part.detach() for part in (x, *kernel(x, *settings))])
        return torch.where(at_x[2], x + (at_x[1] - at_x[0]), at_x[1]) if tape.recorded else func(*args, **kwargs)

    return rule


def _like(bound: Any, x: Tensor) -> Tensor:
    return bound.to(x.dtype) if isinstance(bound, Tensor) else torch.full((), bound, dtype=x.dtype, device=x.device)


def _positive(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x > 0


_RELU = _sides(lambda mask, x: torch.where(mask, x, 0), _positive)
_LEAKY = _sides(lambda mask, x, negative_slope=0.01: torch.where(mask, x, negative_slope * x), _positive)
_ELU = _sides(
    lambda mask, x, alpha=1.0, scale=1.0, input_scale=1.0: scale * torch.where(mask, x, alpha * torch.expm1(input_scale * torch.where(mask, 0, x))), _positive
)
_SELU = _sides(lambda mask, x: 1.0507009873554805 * torch.where(mask, x, 1.6732632423543772 * torch.expm1(torch.where(mask, 0, x))), _positive)
_PRELU = _sides(lambda mask, x, weight: torch.where(mask, x, _slope(x, weight) * x), _positive)
_ABS = _sides(lambda side, x: signed(x, side), sides)
_RELU6 = _sides(lambda mask, x: _hardtanh(mask, x, 0.0, 6.0), lambda x: _hardtanh_side(x, 0.0, 6.0))
_HARDTANH = _sides(_hardtanh, _hardtanh_side)
_HARDSIGMOID = _sides(lambda mask, x: _hardtanh(mask, x / 6 + 0.5, 0.0, 1.0), lambda x: _hardtanh_side(x / 6 + 0.5, 0.0, 1.0))
_HARDSWISH = _sides(lambda mask, x: x * _hardtanh(mask, x / 6 + 0.5, 0.0, 1.0), lambda x: _hardtanh_side(x / 6 + 0.5, 0.0, 1.0))
_THRESHOLD = _sides(lambda mask, x, threshold, value: torch.where(mask, x, value), lambda x, threshold, value: x > threshold)
_SOFTSHRINK = _sides(lambda mask, x, lambd=0.5: torch.where(mask == 0, 0, x - lambd * mask), lambda x, lambd=0.5: sides(x - x.clamp(-lambd, lambd)))
_HARDSHRINK = _sides(lambda mask, x, lambd=0.5: torch.where(mask == 0, 0, x), lambda x, lambd=0.5: sides(x - x.clamp(-lambd, lambd)))
_COPYSIGN = _sides(lambda ratio, x, other: without_slope(x * ratio, other), lambda x, other: torch.copysign(x.sign(), other) * x.sign())


def _everywhere(names: str, rule: Rule) -> dict[Any, Rule]:
    """The rule under every form of the named functions: torch's, functional's, the tensor's methods, and those in place."""
    forms = [form for name in names.split() for form in (name, f"{name}_", f"__{name}__")]
    return {getattr(home, form): rule for form in forms for home in homes_of_functions() if hasattr(home, form)}


RULES: dict[Any, Rule] = {
    **_everywhere("relu", _RELU),
    **_everywhere("leaky_relu", _LEAKY),
    **_everywhere("elu", _ELU),
    **_everywhere("selu", _SELU),
    **_everywhere("prelu", _PRELU),
    **_everywhere("abs absolute", _ABS),
    **_everywhere("copysign", _COPYSIGN),
    **_everywhere("relu6", _RELU6),
    **_everywhere("hardtanh", _HARDTANH),
    **_everywhere("hardsigmoid", _HARDSIGMOID),
    **_everywhere("hardswish", _HARDSWISH),
    **_everywhere("threshold", _THRESHOLD),
    **_everywhere("softshrink", _SOFTSHRINK),
    **_everywhere("hardshrink", _HARDSHRINK),
    **_everywhere("clamp clip clamp_min clamp_max", _clamp),
    **_everywhere("gt lt ge le eq ne greater less greater_equal less_equal not_equal argmax argmin argsort", _constant),
    **_everywhere("signbit bucketize searchsorted isclose logical_and logical_or logical_xor logical_not nonzero count_nonzero", _constant),
    **_everywhere("sign sgn floor ceil round trunc fix heaviside floor_divide", _step),
    **_everywhere("isfinite isinf isnan isposinf isneginf isreal", _constant),
    **_everywhere("long int short char byte bool to type type_as", _cast),
    **_everywhere("item tolist __bool__ __float__ __int__ __index__", _number),  # not Tensor.float(), which makes no number of it
    **_everywhere("equal allclose is_nonzero", _answer),
    **dict.fromkeys(DETACHING, _detached),
    **_everywhere("remainder fmod frac mod", remainder),
    **_everywhere("div divide", division),
    **dict.fromkeys((torch.linalg.vector_norm, torch.norm, Tensor.norm), norm),
    **dict.fromkeys((torch.linalg.norm, torch.linalg.matrix_norm), linalg_norm),
    **_everywhere("pairwise_distance dist", distance),
    **_everywhere("cdist", cdist),
    **_everywhere("pdist", pdist),
    **_everywhere("max min cummax cummin sort topk kthvalue median nanmedian mode", chosen),
    **_everywhere("amax amin", extreme),
    **_everywhere("maximum minimum fmax fmin", larger),
    **_everywhere("rrelu", _rrelu),
    **_everywhere("l1_loss", _l1),
    torch.fake_quantize_per_tensor_affine: _fake_quantize(torch.ops.aten.fake_quantize_per_tensor_affine_cachemask),
    torch.fake_quantize_per_channel_affine: _fake_quantize(torch.ops.aten.fake_quantize_per_channel_affine_cachemask),
    **dict.fromkeys((torch.matrix_exp, torch.linalg.matrix_exp, Tensor.matrix_exp), _matrix_exp),
    **_everywhere("grid_sample grid_sampler grid_sampler_2d grid_sampler_3d", grid_sample),
}
VALUES = {func for func, rule in RULES.items() if rule in (_detached, _number) and func is not Tensor.__bool__}
"""Constants and Python numbers, which say something about derivatives where autograd is on only."""
for _name in (
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool3d",
):
    _rule = pool(getattr(F, f"{_name}_with_indices"), int(_name[-2]), random=_name.startswith("fractional"))
    RULES |= _everywhere(f"{_name} {_name}_with_indices", _rule)
