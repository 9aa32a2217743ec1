"""One backward pass for two: the input gradient and the parameter gradient of the same scores.

(g, G) = ∂Σs / ∂(z, θ)        where the base loss is c·Σs as a function of the output, its own gradient c·G comes with g
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from inputgrad.engines.distributed import flat, unnoticed
from inputgrad.engines.forward import ForwardPass
from inputgrad.engines.gathered import units
from inputgrad.engines.graph import leaves_of, reentrant
from inputgrad.engines.half import scaling
from inputgrad.variables import Key


@dataclass(frozen=True)
class BothGradients:
    """g, one detached tensor a variable, and G, one tensor for each leaf that the scores depend on."""

    inputs: tuple[Tensor, ...]
    leaves: tuple[tuple[Tensor, Tensor], ...]

    def times(self, factor: float) -> list[tuple[Tensor, Tensor]]:
        """Each leaf with factor·G."""
        scaled = torch._foreach_mul([gradient for _, gradient in self.leaves], factor) if self.leaves else []
        return [(leaf, part) for (leaf, _), part in zip(self.leaves, scaled, strict=True)]


def both_gradients(forward: ForwardPass, scores: Tensor, wrt: tuple[Key, ...]) -> BothGradients | None:
    """One backward pass of ``scores`` ``[N]`` to the variables and to every leaf; None where the parameters are not to be had so.

    That is where gradients need a scale (float16), where leaves are not plain tensors (sharded parameters), where a model checkpoints in the re-entrant
    way, and where a variable gets no gradient. Hooks on the leaves do not run: they see the whole gradient, when it is handed over.
    """
    here = forward.here()
    variables = [here.variables[key] for key in wrt]
    own = {id(leaf) for leaf in (*forward.own_leaves, *here.variables.values())}
    leaves = [leaf for leaf in leaves_of([scores]) if id(leaf) not in own]
    if scores.dim() != 1 or units(forward.model) or flat(forward.model) or not all(map(_plain, (*leaves, *forward.model.parameters()))):
        return None
    total = scores.sum()
    if reentrant([total]) or scaling(total.device):
        return None
    with _unhooked(leaves), unnoticed(forward.model):
        found = torch.autograd.grad(total, [*variables, *leaves], retain_graph=not forward.spendable, allow_unused=True)
    inputs = found[: len(variables)]
    if all(part is None for part in inputs):
        return None
    filled = tuple(torch.zeros_like(z) if part is None else part for part, z in zip(inputs, variables, strict=True))
    paid = tuple((leaf, gradient) for leaf, gradient in zip(leaves, found[len(variables) :], strict=True) if gradient is not None)
    return BothGradients(filled, paid)


def _plain(leaf: Tensor) -> bool:
    return type(leaf) in (Tensor, torch.nn.Parameter) and leaf.layout == torch.strided


@contextmanager
def _unhooked(leaves: list[Tensor]) -> Iterator[None]:
    """Without the leaves' tensor hooks, which ``autograd.grad`` would run: autograd reads the dicts that hold them."""
    kept = [(hooks, dict(hooks)) for leaf in leaves if (hooks := leaf._backward_hooks)]
    for hooks, _ in kept:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, entries in kept:
            hooks.update(entries)
