"""Elementwise functions: the chain rule with their derivatives in closed form (`derivatives`)."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from inputgrad.operators.taylor import algebra
from inputgrad.operators.taylor.algebra import Derivative
from inputgrad.operators.taylor.jet import RULES, Jet, forms, jets_in
from inputgrad.operators.taylor.rules import by_branch, powers
from inputgrad.operators.taylor.rules import derivatives as of
from inputgrad.operators.taylor.smooth import SmoothFunction, is_served, smooth_chain
from inputgrad.torch_internals.tracing import is_tracing

Tower = Callable[..., tuple[Tensor, Sequence[Derivative]]]
"""(z, n, further arguments) -> f(z) and [f′(z), …, f⁽ⁿ⁾(z)]."""


def applied(tower: Tower, x: Jet, *args: Any, **kwargs: Any) -> Jet:
    """f(x) of an elementwise function."""
    layout = x.run.layout
    if (smooth := SMOOTH.get(tower)) is not None and is_served(layout, x.blocks) and not is_tracing():
        value, blocks = smooth_chain(layout, smooth(tower, *args, **kwargs), x.value, x.blocks)
        return Jet(value, blocks, x.run)
    value, derivatives = tower(x.value, layout.order, *args, **kwargs)
    return Jet(value, algebra.chain(layout, x.blocks, derivatives), x.run)


def _from_argument(tower: Tower, *args: Any, **kwargs: Any) -> SmoothFunction:
    return SmoothFunction(lambda z: tower(z, 0, *args, **kwargs)[0], lambda z, n: tower(z, n, *args, **kwargs)[1])


def _from_value(derivatives: Callable[[Tensor, int], Sequence[Derivative]]) -> Callable[..., SmoothFunction]:
    return lambda tower, *args, **kwargs: SmoothFunction(lambda z: tower(z, 0)[0], derivatives, from_value=True)


SMOOTH: dict[Tower, Callable[..., SmoothFunction]] = {
    **dict.fromkeys((of.silu, of.gelu, of.softplus, of.logsigmoid, of.mish, of.sin, of.cos, of.sinh, of.cosh, of.atan, of.asinh, powers.erf), _from_argument),
    of.tanh: _from_value(of.of_tanh),
    of.sigmoid: _from_value(of.of_sigmoid),
    powers.exp: _from_value(lambda e, n: [e] * n),
}
"""Functions with three derivatives that are tensors; those that are known from the value alone."""


def _rule(tower: Tower) -> Callable[..., Jet]:
    def rule(func: Any, x: Any, *args: Any, **kwargs: Any) -> Jet:
        if not isinstance(x, Jet) or jets_in(*args, *kwargs.values()):
            raise jets_in(x, *args, *kwargs.values())[0].run.refuse(f"{getattr(func, '__name__', func)} of a jet as a parameter")
        if kwargs.pop("out", None) is not None:
            raise x.run.refuse("out= has no rule")
        if kwargs.pop("inplace", False):
            return written(x, applied(tower, x, *args, **kwargs))
        return applied(tower, x, *args, **kwargs)

    return rule


def written(x: Jet, result: Jet) -> Jet:
    """The jet itself with the contents of the result, as an operation in place leaves it."""
    if x.shares or result.shape != x.shape or result.dtype != x.dtype:
        raise x.run.refuse("a model writes in place on values that other tensors look at")
    x.value, x.blocks = result.value, result.blocks
    return x


TOWERS: dict[str, Tower] = {
    "tanh": of.tanh, "sigmoid": of.sigmoid, "silu": of.silu, "gelu": of.gelu, "softplus": of.softplus, "logsigmoid": of.logsigmoid, "mish": of.mish,
    "sin": of.sin, "cos": of.cos, "tan": of.tan, "sinh": of.sinh, "cosh": of.cosh, "atan": of.atan, "arctan": of.atan, "asin": of.asin,
    "arcsin": of.asin, "acos": of.acos, "arccos": of.acos, "asinh": of.asinh, "arcsinh": of.asinh, "acosh": of.acosh, "arccosh": of.acosh,
    "atanh": of.atanh, "arctanh": of.atanh, "exp": powers.exp, "exp2": powers.exp2, "expm1": powers.expm1, "log": powers.log, "log2": powers.log2,
    "log10": powers.log10, "log1p": powers.log1p, "sqrt": powers.sqrt, "rsqrt": powers.rsqrt, "reciprocal": powers.reciprocal,
    "square": powers.square, "erf": powers.erf, "erfc": powers.erfc, "expit": of.sigmoid, "softsign": of.softsign, "tanhshrink": of.tanhshrink,
    "elu": by_branch.elu, "selu": by_branch.selu, "celu": by_branch.celu, "relu": by_branch.relu, "relu6": by_branch.relu6,
    "leaky_relu": by_branch.leaky_relu, "abs": by_branch.absolute, "absolute": by_branch.absolute, "__abs__": by_branch.absolute,
    "clamp": by_branch.clamp, "clip": by_branch.clamp, "clamp_min": by_branch.clamp_min, "clamp_max": by_branch.clamp_max,
    "hardtanh": by_branch.hardtanh, "hardsigmoid": by_branch.hardsigmoid, "hardswish": by_branch.hardswish, "threshold": by_branch.threshold,
    "softshrink": by_branch.softshrink, "hardshrink": by_branch.hardshrink,
}  # fmt: skip

for _name, _tower in TOWERS.items():
    RULES.update(dict.fromkeys(forms(_name), _rule(_tower)))
    RULES.update(dict.fromkeys(forms(f"{_name}_"), lambda func, x, *args, _tower=_tower, **kwargs: written(x, _rule(_tower)(func, x, *args, **kwargs))))


def power(func: Any, base: Any, exponent: Any) -> Any:
    """``pow``: of a jet to a number or a constant tensor, and of a positive constant to a jet."""
    if isinstance(base, Jet) and not isinstance(exponent, Jet):
        if isinstance(exponent, (int, float)):
            return applied(powers.power, base, exponent)
        if exponent.dim() == 0 and not exponent.requires_grad:
            return applied(powers.power, base, exponent.item())
        raise base.run.refuse("pow with a tensor as exponent has no rule")
    if isinstance(exponent, Jet) and isinstance(base, (int, float)) and base > 0:
        return applied(powers.exponential, exponent, base)
    raise jets_in(base, exponent)[0].run.refuse("pow of these arguments has no rule")


RULES.update(dict.fromkeys(forms("pow", "__pow__"), power))
RULES[Tensor.__rpow__] = lambda func, exponent, base: power(func, base, exponent)
RULES[Tensor.pow_] = RULES[Tensor.__ipow__] = lambda func, base, exponent: written(base, power(func, base, exponent))
