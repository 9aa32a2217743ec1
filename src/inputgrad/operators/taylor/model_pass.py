"""One run of a model on jets: the variables with their directions go in, the output with its coefficients comes out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.memory import memory
from inputgrad.operators.taylor import rules
from inputgrad.operators.taylor.algebra import full
from inputgrad.operators.taylor.jet import Jet, NoRuleError, TaylorPass, jets_in, value_of
from inputgrad.operators.taylor.layout import Index, Layout
from inputgrad.passes.changes import opened
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.torch_internals import pytree
from inputgrad.variables import Key

__all__ = ["Expansion", "Seeds", "expanded", "rules", "unit_directions"]

NUMBERS = "numbers per point that the result of an operation holds"
Seeds = Callable[[Sequence[Tensor]], Sequence[Tensor | None]]
"""The variables -> for each of them the directions ``[K, *z]``; their second dimension is 1 where they are the same for all samples."""


class Expansion:
    """What a run gave: the output's value and coefficients, and the variables, all in one graph."""

    def __init__(self, output: Jet, variables: tuple[Tensor, ...]) -> None:
        self.value = output.value
        self.variables = variables
        self._blocks, self._layout = output.blocks, output.run.layout

    def coefficient(self, index: Index) -> Tensor:
        """One derivative along the directions of its index, of the output's shape."""
        block, row = self._layout.place(index)
        return self._whole(block)[row]

    def first(self) -> Tensor:
        """The derivatives along every direction ``[K, *output]``."""
        return self._whole(0)

    def sum(self, number: int = 0) -> Tensor:
        """A collapsed sum, of the output's shape."""
        return self._whole(len(self._layout.blocks) - len(self._layout.sums) + number)[0]

    def _whole(self, number: int) -> Tensor:
        block, description = self._blocks[number], self._layout.blocks[number]
        if block is None:  # zeros, which do depend on the parameters, as those of reverse mode do
            rows = len(description.members) if description.weights is None else 1
            return torch.where(torch.zeros_like(self.value, dtype=torch.bool), self.value, 0.0).expand(rows, *self.value.shape)
        return full(block, self.value.shape)


def expanded(forward: ForwardPass, keys: Sequence[Key], layout: Layout, seeds: Seeds) -> Expansion:
    """Run the model on jets. Raises `NoRuleError` where it cannot be, and whatever the model raises."""
    run = TaylorPass(layout)
    variables = {key: opened(forward.inputs.variable(key)) for key in keys}
    directions = dict(zip(keys, seeds(tuple(variables.values())), strict=True))

    def put(key: Key) -> Callable[[Tensor], Tensor]:
        rest = (None,) * (len(layout.blocks) - 1)
        return lambda _: Jet(variables[key], (directions[key], *rest), run, is_shared=True)

    try:
        output: Any = forward.run({key: put(key) for key in keys}).output
    finally:
        run.is_open = False
        keeping = _made_plain(forward.model)
    if keeping is not None:
        raise NoRuleError(f"module {keeping!r} keeps a tensor of its forward pass")
    if run.operations:
        memory(forward.model).measured[NUMBERS] = run.numbers / run.operations / max(1, next(iter(variables.values())).shape[0])
    if run.obstacle is not None:
        raise NoRuleError(run.obstacle)
    if not isinstance(output, Jet):
        raise NoRuleError("the output carries no derivatives")
    return Expansion(output, tuple(variables.values()))


def _made_plain(model: nn.Module) -> str | None:
    """The name of a module that has put a jet away among its attributes; what it keeps are ordinary tensors from then on."""
    keeping = None
    for name, module in model.named_modules():
        for key, value in list(vars(module).items()):
            if not key.startswith("_") and jets_in(value):
                vars(module)[key] = pytree.map_only(Jet, value_of, value)
                keeping = name or type(module).__name__
    return keeping


def unit_directions(wanted: Sequence[int]) -> Seeds:
    """The directions of these coordinates, counted through all variables."""

    def seeds(variables: Sequence[Tensor]) -> list[Tensor]:
        found, start = [], 0
        for z in variables:
            size = z[0].numel()
            unit = z.new_zeros(len(wanted), size)
            inside = [(row, coordinate - start) for row, coordinate in enumerate(wanted) if start <= coordinate < start + size]
            if inside and inside == [(inside[0][0] + step, inside[0][1] + step) for step in range(len(inside))]:
                unit[inside[0][0] :, inside[0][1] :].diagonal()[: len(inside)].fill_(1)
            else:
                for row, column in inside:
                    unit[row, column].fill_(1)  # without a tensor of indices, for which a device would wait
            found.append(unit.view(len(wanted), 1, *z.shape[1:]))
            start += size
        return found

    return seeds


def given_directions(vectors: Sequence[Sequence[Tensor]]) -> Seeds:
    """Directions: for each of them a vector for each variable."""
    return lambda variables: [stacked(parts) for parts in zip(*vectors, strict=True)]


def stacked(vectors: Sequence[Tensor]) -> Tensor:
    """Vectors ``[N, *z]`` in one block; those that were expanded over the samples stay the same for all of them."""
    if all(vector.shape[0] > 1 and vector.stride(0) == 0 for vector in vectors):
        vectors = [vector[:1] for vector in vectors]
    return torch.stack(list(vectors))
