"""Whether a model's own first derivative is the derivative of its output: not where a custom Function or a hook changes gradients on purpose.

    ⟨∂(r·f)/∂(x, θ), u⟩  against  [r·f at +hu − r·f at −hu] / 2h        r: a fixed random cotangent of the output f

Must not know engines and terms.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.passes.directions import Directions
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.frozen import FrozenDecisions
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.uncompiled import uncompiled
from inputgrad.passes.value_differences import DIRECTIONS, Misfit, compare
from inputgrad.passes.values_alone import values_alone
from inputgrad.torch_internals.gradient_hooks import without_gradient_hooks
from inputgrad.variables import ModelInputs


def first_derivative_misfit(model: nn.Module, inputs: ModelInputs, pick: Callable[[Any], Tensor], parameters: Sequence[Tensor]) -> Misfit | None:
    """The misfit of the first derivative in the parameters and the inputs; None where the output is too flat."""
    leaves = {key: z.detach().clone() for key, z in inputs.tensors() if z.is_floating_point()}
    given = inputs.replaced(leaves)
    frozen = FrozenDecisions()
    state = RandomAndBufferState(model, inputs)
    state.remember()
    sources = [*parameters, *(leaf.requires_grad_() for leaf in leaves.values() if leaf.dtype == parameters[0].dtype)]
    cotangent: list[Tensor] = []

    def scalar() -> Tensor:
        with uncompiled(), frozen.evaluation(), state.run():
            output = ForwardPass(model, given, (), pick, state, PassOptions(tape=frozen.tape())).run({}).output
        if not cotangent:
            cotangent.append(torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(output.dtype).to(output.device))
        return (output * cotangent[0]).sum()

    with without_gradient_hooks(parameters):
        gradients: list[Tensor | None] = list(torch.autograd.grad(scalar(), sources, allow_unused=True))

    def value() -> float:
        return values_alone(lambda: float(scalar().detach()))

    return compare(value, Directions(gradients, sources, DIRECTIONS), 1e-2)
