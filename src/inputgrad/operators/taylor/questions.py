"""The operators by Taylor arithmetic: Laplacian, divergence, derivatives along vectors. Each with nested reverse mode beside it, as reference and way out."""

from collections.abc import Callable, Sequence

from torch import Tensor

from inputgrad.operators import differentiation
from inputgrad.operators.taylor.jet import NoRule
from inputgrad.operators.taylor.layout import Layout
from inputgrad.operators.taylor.model_pass import Expansion, Seeds, expanded, given_directions, unit_directions
from inputgrad.operators.taylor.trust import why_not
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.variables import Key

Vectors = Sequence[Sequence[Tensor]]


def answered(
    forward: ForwardPass, keys: Sequence[Key], asked: str, layout: Layout, seeds: Callable[[int], Seeds], read: Callable[[Expansion], Tensor], nested: Callable[[Tensor, Sequence[Tensor], int], Tensor]
) -> Tensor:
    """By Taylor arithmetic where the model admits it, else by nesting.

    seeds, nested: given how many samples there are, since the comparison is made on a few of them.
    """
    size = forward.inputs.variable(keys[0]).shape[0]

    def taylor(few: ForwardPass) -> list[Tensor]:
        return [read(expanded(few, keys, layout, seeds(_samples(few, keys))))]

    def by_nesting(few: ForwardPass) -> list[Tensor]:
        here = few.primal()
        return [nested(here.output, tuple(here.variables[key] for key in keys), _samples(few, keys))]

    if why_not(forward, keys, asked, layout.order, taylor, by_nesting) is None:
        try:
            return taylor(forward)[0]
        except NoRule:
            pass
    return by_nesting(forward)[0]


def _samples(forward: ForwardPass, keys: Sequence[Key]) -> int:
    return forward.inputs.variable(keys[0]).shape[0]


def laplacian(forward: ForwardPass, keys: tuple[Key, ...], probes: Vectors | None) -> Tensor:
    """Σ ∂²f_c/∂x_d² of the output's shape, or the mean of vᵀHv over the probes."""
    count = sum(forward.inputs.variable(key)[0].numel() for key in keys) if probes is None else len(probes)
    weight = 1.0 if probes is None else 1 / count
    layout = Layout((), (tuple((weight, (k, k)) for k in range(count)),))
    return answered(
        forward,
        keys,
        "laplacian" if probes is None else "laplacian by probes",
        layout,
        lambda size: unit_directions(range(count)) if probes is None else given_directions(cut(probes, size)),
        Expansion.sum,
        lambda output, variables, size: differentiation.laplacian(output, variables, keys, None if probes is None else cut(probes, size)),
    )


def cut(vectors: Vectors, size: int) -> list[list[Tensor]]:
    """The vectors of the first samples."""
    return [[part[:size] for part in vector] for vector in vectors]
