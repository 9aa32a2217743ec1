"""Arithmetic of Taylor coefficients: the chain rule, the product rule and linear maps, on values and blocks of coefficients.

A block ``[M, *S]`` holds M coefficients of a value of shape S; a dimension in which they are all the same may have size 1, and None stands for zeros.
Must not know torch's functions by name: the rules do.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from inputgrad.devices import constant
from inputgrad.operators.taylor.layout import Factor, Layout, Term

Coefficients = tuple[Tensor | None, ...]
"""For each block of the layout its coefficients."""

Derivative = Tensor | float | None
"""A derivative f⁽ʲ⁾(u) of an elementwise function; a number where it is the same everywhere, None where it is zero."""


def chain(layout: Layout, blocks: Coefficients, derivatives: Sequence[Derivative]) -> Coefficients:
    """The coefficients of f(u) from those of u. derivatives: f′(u), f″(u), …, as many as the order of the layout."""
    known: dict[Factor, Tensor | None] = {}
    return tuple(_chain(blocks, block, terms, derivatives, known) for block, terms in zip(blocks, layout.chain, strict=True))


def _chain(
    blocks: Coefficients, own: Tensor | None, terms: Sequence[tuple[int, Sequence[Term]]], derivatives: Sequence[Derivative], known: dict[Factor, Tensor | None]
) -> Tensor | None:
    total = None if own is None or derivatives[0] is None else own * derivatives[0]
    for j, summands in terms:
        weight = derivatives[j - 1] if j <= len(derivatives) else None
        parts = [] if weight is None else [part for part in (_term(blocks, term, known) for term in summands) if part is not None]
        if parts and weight is not None:
            total = _plus(total, reduce(torch.add, parts), weight)
    return total


def _plus(total: Tensor | None, part: Tensor, weight: Tensor | float) -> Tensor:
    if total is None:
        return part * weight
    return torch.addcmul(total, part, weight) if isinstance(weight, Tensor) else torch.add(total, part, alpha=weight)


def _term(blocks: Coefficients, term: Term, known: dict[Factor, Tensor | None]) -> Tensor | None:
    factors = [rows for factor in term.factors if (rows := _taken(blocks, factor, known)) is not None]
    return _weighted(_multiplied(factors), term.number, term.weights) if len(factors) == len(term.factors) else None


def _multiplied(factors: Sequence[Tensor]) -> Tensor:
    pairs = [factors[0].square(), *factors[2:]] if factors[0] is factors[1] else list(factors)
    if len(factors) == 4 and len(pairs) == 3 and factors[2] is factors[3]:
        return (pairs[0].square()) if factors[0] is factors[2] else pairs[0] * factors[2].square()
    return reduce(torch.mul, pairs)


def _taken(blocks: Coefficients, factor: Factor, known: dict[Factor, Tensor | None]) -> Tensor | None:
    """The rows of a block; the same tensor each time."""
    if factor not in known:
        known[factor] = taken(blocks, factor)
    return known[factor]


def taken(blocks: Coefficients, factor: Factor) -> Tensor | None:
    block = blocks[factor.block]
    if block is None or factor.rows is None:
        return block
    return block[factor.rows.start : factor.rows.stop] if isinstance(factor.rows, range) else block[constant(list(factor.rows), block.device, torch.long)]


def _weighted(product: Tensor, number: float, weights: tuple[float, ...] | None) -> Tensor:
    if weights is not None:
        if len(set(weights)) == 1:
            number *= weights[0]
        else:
            product = product * constant(weights, product.device, product.dtype).view(-1, *[1] * (product.dim() - 1))
        product = product.sum(0, keepdim=True)
    return product if number == 1 else product * number


Operation = Callable[[Tensor, Tensor], Tensor]


def product(layout: Layout, operation: Operation, left: tuple[Tensor, Coefficients], right: tuple[Tensor, Coefficients], values: Operation) -> Coefficients:
    """The coefficients of a bilinear operation. operation: on blocks, row by row; values: on a block and a value, and on a value and a block.

    A row of one factor meets the row of the same number of the other; a value is met by every row.
    """
    found = []
    for a, b, splits in zip(left[1], right[1], layout.product, strict=True):
        parts = [values(a, right[0])] if a is not None else []
        parts += [values(left[0], b)] if b is not None else []
        for split in splits:
            one, other = taken(left[1], split.left), taken(right[1], split.right)
            if one is not None and other is not None:
                parts.append(_weighted(operation(one, other), split.number, split.weights))
        found.append(reduce(torch.add, parts) if parts else None)
    return tuple(found)


def mapped(blocks: Coefficients, function: Callable[[Tensor], Tensor]) -> Coefficients:
    """A linear function of every block."""
    return tuple(None if block is None else function(block) for block in blocks)


def added(left: Coefficients, right: Coefficients) -> Coefficients:
    """The sum of two."""
    return tuple(a if b is None else b if a is None else a + b for a, b in zip(left, right, strict=True))


def padded(block: Tensor, dimensions: int) -> Tensor:
    """The block with as many dimensions behind the first as a value that it meets in broadcasting."""
    missing = dimensions + 1 - block.dim()
    return block if missing <= 0 else block.reshape(block.shape[0], *[1] * missing, *block.shape[1:])


def full(block: Tensor, shape: torch.Size) -> Tensor:
    """The block at its whole size ``[M, *shape]``."""
    return block if block.shape[1:] == shape else block.expand(-1, *shape)
