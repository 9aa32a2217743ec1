"""Smooth elementwise functions in passes to the second order: the chain rule as one node of the graph.

    out₁ = f′ u₁      out₂ = f′ u₂ + f″ T,   T = Σ u₁ u₁
    ∂/∂u₁ = f′ g₁ + 2 f″ g₂ u₁      ∂/∂u₂ = f′ g₂      ∂/∂z = f′ g + f″ (Σ g₁ u₁ + g₂ u₂) + f‴ g₂ T

Its backward pass is written by hand, which saves time and memory; where that is to be differentiated itself, torch differentiates the formulas above.
Must not know torch's functions by name.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inputgrad.devices import constant
from inputgrad.operators.taylor.algebra import Coefficients, chain
from inputgrad.operators.taylor.layout import Layout, Rows, Term

Derivatives = Callable[[Tensor, int], Sequence[Any]]
"""(what is kept, n) -> f′, …, f⁽ⁿ⁾."""


@dataclass(frozen=True)
class SmoothFunction:
    """An elementwise function. value: z -> f(z). derivatives: from f(z) where ``from_value`` holds, else from z."""

    value: Callable[[Tensor], Tensor]
    derivatives: Derivatives
    from_value: bool = False


def is_served(layout: Layout, blocks: Coefficients) -> bool:
    """Whether the node covers this layout: to the second order, sums with one weight; and there is something to gain."""
    if layout.order != 2 or blocks[0] is None or not torch.is_grad_enabled():
        return False
    return all(term.weights is None or len(set(term.weights)) == 1 for rules in layout.chain for _, terms in rules for term in terms)


def smooth_chain(layout: Layout, function: SmoothFunction, z: Tensor, blocks: Coefficients) -> tuple[Tensor, Coefficients]:
    """f(z) and the coefficients of f."""
    value, *found = _Chain.apply(layout, function, z, *blocks)
    return value, tuple(found)


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layout: Layout, function: SmoothFunction, z: Tensor, *blocks: Tensor | None) -> Any:
        ctx.set_materialize_grads(False)
        value = function.value(z)
        kept = value if function.from_value else z
        first, second = function.derivatives(kept, 2)
        u = blocks[0]
        assert u is not None
        found, sums = [first * u], []
        for block, rules in zip(blocks[1:], layout.chain[1:], strict=True):
            summed = _products(u, rules[0][1])
            part = second * summed
            found.append(part if block is None else part.addcmul_(first, block))
            sums.append(summed)
        ctx.layout, ctx.function = layout, function
        ctx.save_for_backward(kept, u, *blocks[1:], *sums)
        return (value, *found)

    @staticmethod
    def backward(ctx: Any, *g: Tensor | None) -> Any:
        kept, u, *rest = ctx.saved_tensors
        blocks, sums = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        if torch.is_grad_enabled():
            return (None, None, *_by_torch(ctx, kept, (u, *blocks), g))
        first, second, third = ctx.function.derivatives(kept, 3)
        inner, by_value = _plus(None, g[1], u), None if g[0] is None else first * g[0]
        to_u = None if g[1] is None or not ctx.needs_input_grad[3] else _to_size(first * g[1], u)
        for given, block, summed, rules in zip(g[2:], blocks, sums, ctx.layout.chain[1:], strict=True):
            if given is None:
                continue
            inner = _plus(inner, given, block)
            by_value = _plus(by_value, third, given * summed)
            if ctx.needs_input_grad[3]:
                to_u = _with_products(to_u, u, second * given, rules[0][1])
        to_blocks = [None if given is None or block is None else _to_size(first * given, block) for given, block in zip(g[2:], blocks, strict=True)]
        to_z = by_value if inner is None else second * inner if by_value is None else by_value.addcmul_(second, inner)
        return (None, None, to_z, to_u, *to_blocks)


def _by_torch(ctx: Any, kept: Tensor, blocks: Coefficients, g: Sequence[Tensor | None]) -> Iterator[Tensor | None]:
    """The gradients with their graph."""
    base = kept.view_as(kept)
    apart = [None if block is None else block.view_as(block) for block in blocks]
    derivatives = ctx.function.derivatives(base, 2)
    found = [base if ctx.function.from_value else ctx.function.value(base), *chain(ctx.layout, tuple(apart), list(derivatives))]
    pairs = [(part, given) for part, given in zip(found, g, strict=True) if given is not None and part is not None]
    sources = [base, *[block for block, needed in zip(apart, ctx.needs_input_grad[3:], strict=True) if block is not None and needed]]
    parts = iter(torch.autograd.grad([part for part, _ in pairs], sources, [given for _, given in pairs], create_graph=True, allow_unused=True))
    by_base = next(parts)
    yield by_base if by_base is None or not ctx.function.from_value else by_base * derivatives[0]
    for block, needed in zip(apart, ctx.needs_input_grad[3:], strict=True):
        yield next(parts) if block is not None and needed else None


def _rows(u: Tensor, rows: Rows) -> Tensor:
    return u if rows is None else u[rows.start : rows.stop] if isinstance(rows, range) else u[list(rows)]


def _products(u: Tensor, terms: Sequence[Term]) -> Tensor:
    """T: the sum of the terms."""
    total: Tensor | None = None
    for term in terms:
        left, right = (_rows(u, factor.rows) for factor in term.factors)
        found = left * right if term.weights is None else _summed(left, right).unsqueeze(0)
        number = term.number * (term.weights[0] if term.weights else 1)
        found = found if number == 1 else found * number
        total = found if total is None else total + found
    assert total is not None
    return total


def _summed(a: Tensor, b: Tensor) -> Tensor:
    """Σ over the rows of a · b, of both of which any may have fewer elements; without the products in memory where they are large."""
    if len(a) == len(b) == 1:
        return a[0] * b[0]
    if len(a) != len(b) or len(a) > MOST_ROWS or max(a[0].numel(), b[0].numel()) < LARGE:
        return (a * b).sum(0)
    total = a[0] * b[0]
    for one, other in zip(a[1:], b[1:], strict=True):
        total.addcmul_(one, other)
    return total


MOST_ROWS, LARGE = 16, 4096
"""Where a kernel for each row is quicker than one for all and a sum: by measurement on a CPU core."""


def _plus(total: Tensor | None, a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """total + Σ over the rows of a · b, into the total's own memory; a factor without a dimension for rows counts for all."""
    if a is None or b is None:
        return total
    dimensions = max(a.dim(), b.dim())
    one, other = (part if part.dim() == dimensions else part.unsqueeze(0) for part in (a, b))
    if total is None:
        return _summed(one, other)
    rows = max(len(one), len(other))
    return total.addcmul_(one[0], other[0]) if rows == 1 else total.add_(_summed(one, other))


def _with_products(total: Tensor | None, u: Tensor, weight: Tensor, terms: Sequence[Term]) -> Tensor:
    """The gradient of u with that of the sum of the terms, weighted, added to it."""
    for term in terms:
        number = term.number * (term.weights[0] if term.weights else 1)
        (left, right), scaled = (factor.rows for factor in term.factors), weight
        if u.shape[1:] != weight.shape[1:]:
            scaled = _to_size(weight, u[:1].expand(len(weight), *u.shape[1:]))
        for rows, other in ((left, right),) if left == right else ((left, right), (right, left)):
            factor = 2 * number if left == right else number
            if total is None and rows is None:
                total = _rows(u, other) * (scaled * factor)
                continue
            total = torch.zeros_like(u) if total is None else total
            if rows is None or isinstance(rows, range):
                _rows(total, rows).addcmul_(_rows(u, other), scaled, value=factor)
            else:
                total.index_add_(0, constant(list(rows), u.device, torch.long), _rows(u, other) * scaled, alpha=factor)
    assert total is not None
    return total


def _to_size(gradient: Tensor, like: Tensor) -> Tensor:
    return gradient if gradient.shape == like.shape else gradient.sum_to_size(like.shape)
