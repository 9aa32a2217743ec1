"""One backward pass for two: the input gradient and the parameter gradient of the same scores.

(g, G) = ∂Σs / ∂(z, θ)        where the base loss is c·Σs as a function of the output, its own gradient c·G comes with g

Under autocast to float16 both are taken of the scaled score (`half`). G is a sum over samples, and may overflow where g does not: then the two are taken
apart, so that g never gets a smaller scale on its account.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inputgrad.memory import memory
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.precision import INPUT_GRADIENT_SCALE, all_finite, is_float16_autocast
from inputgrad.torch_internals.autograd_graph import is_reentrant, leaves_of
from inputgrad.torch_internals.gradient_hooks import without_gradient_hooks
from inputgrad.torch_internals.tensors import scaled
from inputgrad.variables import Key

_TOO_LARGE = "too large for joint gradients"
"""The scale at which a model's gradients overflowed in float16, in its memory."""

_AT_ONCE = 1 << 18
"""How many numbers are scaled at once."""


@dataclass(frozen=True)
class InputAndParameterGradients:
    """g, one detached tensor a variable, and scale·G, one tensor for each leaf that the scores depend on."""

    inputs: tuple[Tensor, ...]
    leaves: list[tuple[Tensor, Tensor]]
    scale: float

    def times(self, factor: float) -> list[tuple[Tensor, Tensor]]:
        """Each leaf with factor·G. To be asked for once: G goes as its multiple comes, so that the two are not held at once."""
        found: list[tuple[Tensor, Tensor]] = []
        while self.leaves:
            some = [self.leaves.pop()]
            while self.leaves and sum(gradient.numel() for _, gradient in some) < _AT_ONCE:
                some.append(self.leaves.pop())
            parts = scaled([gradient for _, gradient in some], factor / self.scale)
            found += [(leaf, part) for (leaf, _), part in zip(some, parts, strict=True)]
        return found


def input_and_parameter_gradients(forward: ForwardPass, scores: Tensor, wrt: tuple[Key, ...]) -> InputAndParameterGradients | None:
    """One backward pass of ``scores`` ``[N]`` to the variables and to every leaf; None where the parameters cannot be reached so.

    That is where gradients overflow (float16), where leaves are not plain tensors (sharded parameters), where a model checkpoints in the re-entrant
    way, and where a variable gets no gradient. Hooks on the leaves do not run: they see the whole gradient, when it is handed over.
    """
    here = forward.primal()
    variables = [here.variables[key] for key in wrt]
    own = {id(leaf) for leaf in (*forward.own_leaves, *here.variables.values())}
    leaves = [leaf for leaf in leaves_of([scores]) if id(leaf) not in own]
    if (
        scores.dim() != 1
        or not scores.requires_grad
        or forward.placement.is_fsdp
        or forward.placement.is_fsdp1
        or not all(map(_plain, (*leaves, *forward.model.parameters())))
    ):
        return None
    total = scores.sum()
    scale = _scale(forward.model, total, [*variables, *leaves])
    if scale is None or is_reentrant([total]):
        return None
    found = _taken(forward, total, variables, leaves, scale)
    inputs = found[: len(variables)]
    if all(part is None for part in inputs) or (is_float16_autocast(total.device) and _overflows(forward.model, found, scale)):
        return None
    filled = tuple(torch.zeros_like(z) if part is None else part for part, z in zip(inputs, variables, strict=True))
    paid = [(leaf, gradient) for leaf, gradient in zip(leaves, found[len(variables) :], strict=True) if gradient is not None]
    return InputAndParameterGradients(filled if scale == 1 else tuple(part / scale for part in filled), paid, scale)


def _scale(model: nn.Module, total: Tensor, sources: Sequence[Tensor]) -> float | None:
    """What this pass starts from; None where no scale works: one that was too large, or gradients that stay in float16, where dividing would lose them."""
    if not is_float16_autocast(total.device):
        return 1.0
    scale = INPUT_GRADIENT_SCALE.of(model)
    halved = any(source.dtype is torch.float16 for source in sources)
    return None if halved or scale >= memory(model).scales.get(_TOO_LARGE, float("inf")) else scale


def _taken(forward: ForwardPass, total: Tensor, variables: list[Tensor], leaves: list[Tensor], scale: float) -> tuple[Tensor | None, ...]:
    half = is_float16_autocast(total.device)  # then the graph must still be there for a second attempt
    seed = total.new_full((), scale) if half else None
    with without_gradient_hooks(leaves), forward.placement.unnoticed_backward():
        return torch.autograd.grad(total, [*variables, *leaves], seed, retain_graph=half or not forward.may_free_graph, allow_unused=True)


def _overflows(model: nn.Module, found: Sequence[Tensor | None], scale: float) -> bool:
    if all_finite(found):
        return False
    memory(model).scales[_TOO_LARGE] = scale
    return True


def _plain(leaf: Tensor) -> bool:
    return type(leaf) in (Tensor, torch.nn.Parameter) and leaf.layout == torch.strided
