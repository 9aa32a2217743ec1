"""Matrix products, linear and bilinear layers, einsum and convolutions: the product rule, where one factor is a constant a linear map."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from inputgrad.operators.taylor import algebra
from inputgrad.operators.taylor.algebra import Coefficients, full
from inputgrad.operators.taylor.jet import RULES, Jet, forms, jets_in, rule_for, value_of


def bilinear(a: Any, b: Any, values: Callable[[Any, Any], Tensor], ranks: tuple[int, int] | None = None) -> Jet:
    """A bilinear operation that broadcasts over dimensions in front, of jets and constants. ranks: to which the factors' rows are padded."""
    run = jets_in(a, b)[0].run
    value = values(value_of(a), value_of(b))

    def sides(x: Any) -> Coefficients:
        return tuple(None if block is None else full(block, x.shape) for block in x.blocks) if isinstance(x, Jet) else (None,) * len(run.layout.blocks)

    left, right = (value_of(a), sides(a)), (value_of(b), sides(b))
    return Jet(value, algebra.product(run.layout, values, left, right, values), run)


@rule_for(F.linear)
def linear(func: Any, input: Any, weight: Any, bias: Any = None) -> Jet:
    if isinstance(input, Jet) and not isinstance(weight, Jet) and not isinstance(bias, Jet):
        width = input.shape[-1]

        def map_block(block: Tensor) -> Tensor:
            return F.linear(block if block.shape[-1] == width else block.expand(*block.shape[:-1], width), weight)

        return input.mapped(F.linear(input.value, weight, bias), map_block)
    product = input @ weight.mT if weight.dim() == 2 else input @ weight
    return product if bias is None else product + bias


def matmul(func: Any, a: Any, b: Any, **kwargs: Any) -> Any:
    run = jets_in(a, b)[0].run
    if kwargs:
        raise run.refuse("matmul with out= has no rule")
    if a.dim() == 1:
        return matmul(func, a.unsqueeze(0), b).squeeze(-1 if b.dim() == 1 else -2)
    if b.dim() == 1:
        return matmul(func, a, b.unsqueeze(1)).squeeze(-1)
    if isinstance(a, Jet) and not isinstance(b, Jet) and b.dim() == 2:
        return a.mapped(a.value @ b, lambda block: (block if block.shape[-1] == a.shape[-1] else block.expand(*block.shape[:-1], a.shape[-1])) @ b)
    while a.dim() < b.dim():
        a = a.unsqueeze(0)
    while b.dim() < a.dim():
        b = b.unsqueeze(0)
    return bilinear(a, b, torch.matmul)


RULES.update(dict.fromkeys(forms("matmul", "__matmul__", "mm", "bmm", "mv", "dot", "inner_product"), matmul))
RULES[Tensor.__rmatmul__] = lambda func, b, a: matmul(func, a, b)


@rule_for(*forms("addmm", "baddbmm", "addmv"))
def addmm(func: Any, total: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    product = torch.matmul(a, b)
    return (total if beta == 1 else total * beta) + (product if alpha == 1 else product * alpha)


@rule_for(*forms("outer", "ger"))
def outer(func: Any, a: Any, b: Any) -> Any:
    return a.unsqueeze(1) * b.unsqueeze(0)


@rule_for(F.bilinear)
def bilinear_layer(func: Any, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Any:
    product = torch.einsum("...i,kij,...j->...k", input1, weight, input2)
    return product if bias is None else product + bias


@rule_for(torch.einsum)
def einsum(func: Any, equation: Any, *operands: Any) -> Any:
    run = jets_in(*operands)[0].run
    given = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (tuple, list)) else list(operands)
    if not isinstance(equation, str) or "->" not in equation:
        raise run.refuse("einsum without '->' has no rule")
    places = [place for place, operand in enumerate(given) if isinstance(operand, Jet)]
    if len(places) > 2:
        raise run.refuse("einsum of more than two jets has no rule")
    inputs, output = equation.replace(" ", "").split("->")
    batch = next(letter for letter in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if letter not in equation)
    terms = inputs.split(",")

    def contracted(*parts: Tensor) -> Tensor:
        """With the parts in the jets' places; those with one dimension more are blocks."""
        whole, names, is_block = list(given), list(terms), False
        for place, part in zip(places, parts, strict=True):
            whole[place] = part
            if part.dim() > given[place].dim():
                names[place], is_block = batch + terms[place], True
        return torch.einsum(f"{','.join(names)}->{batch * is_block}{output}", *whole)

    if len(places) == 1:
        jet = given[places[0]]
        return jet.mapped(contracted(jet.value), lambda block: contracted(full(block, jet.shape)))
    return bilinear(given[places[0]], given[places[1]], contracted)


@rule_for(
    *[getattr(module, name) for module in (torch, F) for name in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")]
)
def convolution(func: Any, input: Any, weight: Any, bias: Any = None, *args: Any, **kwargs: Any) -> Jet:
    if not isinstance(input, Jet) or jets_in(weight, bias) or input.dim() != weight.dim():
        raise jets_in(input, weight, bias)[0].run.refuse("a convolution whose weight depends on the input, or without batch dimension, has no rule")

    def by_rows(block: Tensor) -> Tensor:
        rows = block.expand(-1, -1, *input.shape[1:])
        found = func(rows.flatten(0, 1), weight, None, *args, **kwargs)
        return found.unflatten(0, rows.shape[:2])

    return input.mapped(func(input.value, weight, bias, *args, **kwargs), by_rows)
