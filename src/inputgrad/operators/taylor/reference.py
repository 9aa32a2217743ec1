"""The derivatives of a plan by nested reverse mode: what Taylor arithmetic is compared with."""

import torch
from torch import Tensor

from inputgrad.operators.differentiation import gradients
from inputgrad.operators.taylor.layout import Index
from inputgrad.operators.taylor.model_pass import Expansion
from inputgrad.operators.taylor.plan import Plan


def read(expansion: Expansion, plan: Plan) -> list[Tensor]:
    """What a pass on jets brought, in the same order."""
    return [*map(expansion.coefficient, plan.layout.single), *map(expansion.sum, range(len(plan.layout.sums)))]


def nested(output: Tensor, variables: tuple[Tensor, ...], plan: Plan) -> list[Tensor]:
    """The single derivatives, then the sums."""
    known: dict[tuple[int, Index], Tensor] = {}
    columns = output.reshape(len(output), -1).unbind(1)

    def derivative(row: int, order: Index) -> Tensor:
        if (row, order) not in known:
            lower = derivative(row, order[:-1]) if len(order) > 1 else columns[row]
            parts = [part.reshape(len(part), -1) for part in gradients(lower, variables)]
            for number, column in enumerate(column for part in parts for column in part.unbind(1)):
                known.setdefault((row, (*order[:-1], number)), column)
        return known[row, order]

    def whole(index: Index) -> Tensor:
        order = tuple(plan.coordinates[place] for place in index)
        return torch.stack([derivative(row, order) for row in range(len(columns))], 1).reshape(output.shape)

    singles = [whole(index) for index in plan.layout.single]
    return [*singles, *(sum((weight * whole(index) for weight, index in terms), start=output.new_zeros(())) for terms in plan.layout.sums)]
