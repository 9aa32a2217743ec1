"""Sums, products and quotients, by elements."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from inputgrad.operators.taylor import algebra
from inputgrad.operators.taylor.algebra import Coefficients, mapped, padded
from inputgrad.operators.taylor.jet import RULES, Jet, forms, jets_in, value_of
from inputgrad.operators.taylor.rules import powers
from inputgrad.operators.taylor.rules.elementwise import applied, written


def constant_blocks(run: Any) -> Coefficients:
    """The coefficients of a constant."""
    return (None,) * len(run.layout.blocks)


def _blocks(x: Any, run: Any, dimensions: int) -> Coefficients:
    return mapped(x.blocks, lambda block: padded(block, dimensions)) if isinstance(x, Jet) else constant_blocks(run)


def _run(*arguments: Any) -> Any:
    return jets_in(*arguments)[0].run


def _given(run: Any, kwargs: dict[str, Any]) -> None:
    if kwargs.pop("out", None) is not None or kwargs:
        raise run.refuse(f"arguments {sorted(kwargs) or 'out'} have no rule")


def plus(a: Any, b: Any, factor: Any = 1) -> Jet:
    """a + factor · b."""
    run = _run(a, b)
    if isinstance(factor, Tensor):
        raise run.refuse("alpha= as a tensor has no rule")
    value = torch.add(value_of(a), value_of(b), alpha=factor) if factor != 1 else value_of(a) + value_of(b)
    left, right = (_blocks(part, run, value.dim()) for part in (a, b))
    return Jet(value, algebra.added(left, right if factor == 1 else mapped(right, lambda block: block * factor)), run)


def times(a: Any, b: Any) -> Jet:
    """a · b, by elements."""
    run = _run(a, b)
    value = value_of(a) * value_of(b)
    if not isinstance(b, Jet):
        return Jet(value, mapped(_blocks(a, run, value.dim()), lambda block: block * b), run)
    if not isinstance(a, Jet):
        return Jet(value, mapped(_blocks(b, run, value.dim()), lambda block: block * a), run)
    if a is b:
        return applied(powers.square, a)
    left, right = ((value_of(part), _blocks(part, run, value.dim())) for part in (a, b))
    return Jet(value, algebra.product(run.layout, torch.mul, left, right, torch.mul), run)


def over(a: Any, b: Any) -> Jet:
    """a / b."""
    if isinstance(b, Jet):
        return times(a, applied(powers.reciprocal, b)) if isinstance(a, Jet) or not _is_one(a) else applied(powers.reciprocal, b)
    run = _run(a)
    value = a.value / b
    return Jet(value, mapped(_blocks(a, run, value.dim()), lambda block: block / b), run)


def _is_one(a: Any) -> bool:
    return isinstance(a, (int, float)) and a == 1


def add(func: Any, a: Any, b: Any, *, alpha: Any = 1, **kwargs: Any) -> Jet:
    _given(_run(a, b), kwargs)
    return plus(a, b, alpha)


def sub(func: Any, a: Any, b: Any, *, alpha: Any = 1, **kwargs: Any) -> Jet:
    _given(_run(a, b), kwargs)
    return plus(a, b, -alpha)


def rsub(func: Any, a: Any, b: Any, **kwargs: Any) -> Jet:
    _given(_run(a, b), kwargs)
    return plus(neg(func, a), b)


def neg(func: Any, a: Jet) -> Jet:
    return a.mapped(-a.value, torch.neg)


def mul(func: Any, a: Any, b: Any, **kwargs: Any) -> Jet:
    _given(_run(a, b), kwargs)
    return times(a, b)


def div(func: Any, a: Any, b: Any, *, rounding_mode: Any = None, **kwargs: Any) -> Jet:
    run = _run(a, b)
    _given(run, kwargs)
    if rounding_mode is not None:
        raise run.refuse("div with rounding_mode has no rule")
    return over(a, b)


def rdiv(func: Any, a: Any, b: Any) -> Jet:
    return over(b, a)


def addcmul(func: Any, total: Any, a: Any, b: Any, *, value: Any = 1) -> Jet:
    return plus(total, torch.mul(a, b), value)


def addcdiv(func: Any, total: Any, a: Any, b: Any, *, value: Any = 1) -> Jet:
    return plus(total, torch.div(a, b), value)


def lerp(func: Any, start: Any, end: Any, weight: Any) -> Jet:
    moved: Jet = start + weight * (end - start)
    return moved


def in_place(rule: Callable[..., Jet]) -> Callable[..., Jet]:
    """The rule of an operation that writes on its first argument."""

    def write(func: Any, x: Any, *args: Any, **kwargs: Any) -> Jet:
        if not isinstance(x, Jet):
            raise _run(*args, *kwargs.values()).refuse("a model writes in place on a tensor that carries no coefficients")
        return written(x, rule(func, x, *args, **kwargs))

    return write


def minus_from(func: Any, a: Any, b: Any) -> Jet:
    return plus(b, a, -1)


for _rule, _names in (
    (add, ("add", "__add__", "__radd__")), (sub, ("sub", "subtract", "__sub__")), (minus_from, ("__rsub__",)), (rsub, ("rsub",)),
    (mul, ("mul", "multiply", "__mul__", "__rmul__")), (div, ("div", "divide", "true_divide", "__truediv__")), (rdiv, ("__rtruediv__", "__rdiv__")),
    (neg, ("neg", "negative", "__neg__")), (addcmul, ("addcmul",)), (addcdiv, ("addcdiv",)), (lerp, ("lerp",)),
):  # fmt: skip
    RULES.update(dict.fromkeys(forms(*_names), _rule))
for _rule, _names in ((add, ("add_", "__iadd__")), (sub, ("sub_", "__isub__")), (mul, ("mul_", "__imul__")), (div, ("div_", "__itruediv__")), (neg, ("neg_",))):
    RULES.update(dict.fromkeys(forms(*_names), in_place(_rule)))
