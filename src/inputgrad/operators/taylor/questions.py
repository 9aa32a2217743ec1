"""The operators by Taylor arithmetic: Laplacian, divergence, derivatives along vectors. Each with nested reverse mode beside it, as reference and way out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor

from inputgrad.operators import differentiation
from inputgrad.operators.taylor.layout import Layout
from inputgrad.operators.taylor.model_pass import Expansion, Seeds, expanded, given_directions, stacked, unit_directions
from inputgrad.operators.taylor.trust import give_up, why_not
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.second_input_derivative import check_second_input_derivative
from inputgrad.torch_internals import messages
from inputgrad.variables import Key, is_module

Vectors = Sequence[Sequence[Tensor]]
"""For each direction its part for each variable."""


@dataclass(frozen=True)
class Question:
    """What is asked of a model.

    name: what it is called where it is remembered. worth: whether a pass on jets is cheaper. layout, seeds: of that pass; read: the answer from what it
    brings.
    nested: the answer from the output and the variables. Both get the number of samples, since the two ways are compared on a few samples only.
    """

    name: str
    layout: Layout
    worth: bool
    seeds: Callable[[int], Seeds]
    read: Callable[[Expansion, int], Sequence[Tensor]]
    nested: Callable[[Tensor, Sequence[Tensor], int], Sequence[Tensor]]


@dataclass(frozen=True)
class Opened:
    """A model as a function of variables. forward: its pass; graph: output and variables in one graph; shapes: like these."""

    keys: tuple[Key, ...]
    forward: ForwardPass
    graph: Callable[[], tuple[Tensor, Sequence[Tensor]]]

    def shapes(self) -> Sequence[Tensor]:
        """Tensors of the variables' shapes."""
        known = not any(is_module(key) for key in self.keys)
        return [self.forward.inputs.variable(key) for key in self.keys] if known else self.graph()[1]


def answer(opened: Opened, question: Question) -> Sequence[Tensor]:
    """By Taylor arithmetic where the model admits it, else by nesting."""
    with opened.forward.outside():
        return _answer(opened, question)


def _answer(opened: Opened, question: Question) -> Sequence[Tensor]:
    keys, forward = opened.keys, opened.forward

    def taylor(here: ForwardPass) -> Sequence[Tensor]:
        size = here.inputs.variable(keys[0]).shape[0]
        expansion = expanded(here, keys, question.layout, question.seeds(size))
        here.own_leaves += expansion.variables
        return question.read(expansion, size)

    def nested(here: ForwardPass) -> Sequence[Tensor]:
        return _nested(question, here.primal().output, [here.primal().variables[key] for key in keys])

    if question.worth and why_not(forward, keys, question.name, question.layout.order, taylor, nested) is None:
        try:
            return taylor(forward)
        except Exception as error:  # what the model itself raises comes again
            if messages.is_machine_error(error):
                raise
            give_up(forward, keys, question.name, error)
    if question.layout.order > 1:
        check_second_input_derivative(forward)
    return _nested(question, *opened.graph())


def _nested(question: Question, output: Tensor, variables: Sequence[Tensor]) -> Sequence[Tensor]:
    return question.nested(output, variables, variables[0].shape[0])


def laplacian(shapes: Sequence[Tensor], keys: tuple[Key, ...], probes: Vectors | None) -> Question:
    """Σ ∂²f_c/∂x_d² of the output's shape, or the mean of vᵀHv over the probes."""
    count = sum(z[0].numel() for z in shapes) if probes is None else len(probes)
    return Question(
        "laplacian" if probes is None else "laplacian by probes",
        second_order(count, 1.0 if probes is None else 1 / count),
        True,
        lambda size: unit_directions(range(count)) if probes is None else given_directions(cut(probes, size)),
        lambda expansion, _: [expansion.sum()],
        lambda output, variables, size: [differentiation.laplacian(output, variables, keys, None if probes is None else cut(probes, size))],
    )


def divergence(shapes: Sequence[Tensor], keys: tuple[Key, ...], probes: Vectors | None) -> Question:
    """Σ ∂f_d/∂x_d ``[N]``, or the mean of vᵀ(∂f/∂x)v over the probes."""
    count = shapes[0][0].numel() if probes is None else len(probes)

    def read(expansion: Expansion, size: int) -> list[Tensor]:
        first = expansion.first()
        differentiation.check_same_shape(expansion.value, expansion.variables[0])
        if probes is None:
            return [first.flatten(2).diagonal(dim1=0, dim2=2).sum(1)]
        return [(first * stacked([part for (part,) in cut(probes, size)])).flatten(2).sum(2).mean(0)]

    def nested(output: Tensor, variables: Sequence[Tensor], size: int) -> list[Tensor]:
        return [differentiation.divergence(output, variables[0], keys[0], None if probes is None else [part for (part,) in cut(probes, size)])]

    return Question(
        "divergence" if probes is None else "divergence by probes",
        first_order(count),
        count >= LEAST_DIRECTIONS,
        lambda size: unit_directions(range(count)) if probes is None else given_directions(cut(probes, size)),
        read,
        nested,
    )


LEAST_DIRECTIONS = 3
"""From how many directions on a divergence by one pass on jets is cheaper than one backward pass for each; measured on a CPU core."""


@lru_cache(maxsize=32)
def first_order(count: int) -> Layout:
    """The first derivatives along each of the directions."""
    return Layout(tuple((k,) for k in range(count)))


@lru_cache(maxsize=32)
def second_order(count: int, weight: float) -> Layout:
    """The weighted sum of the second derivatives along each of the directions."""
    return Layout((), (tuple((weight, (k, k)) for k in range(count)),))


def cut(vectors: Vectors, size: int) -> list[list[Tensor]]:
    """The vectors of the first samples."""
    return [[part[:size] for part in vector] for vector in vectors]
