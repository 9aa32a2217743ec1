"""Double backward: the input gradient with its own graph (``create_graph=True``). Exact, eager, any term.

Needs every operation of the model to have a second derivative. Whether it has is tried once for each model and shape of the inputs, so that the error
is raised here, with the operation's name, and not in the user's ``loss.backward()``.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from inputgrad.derivatives import Phase
from inputgrad.engines.base import Cotangents, Engine, Linearization, Traits
from inputgrad.heads import Score
from inputgrad.passes.forward_pass import ForwardPass, Watch
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.second_derivative import explained, prove, proven
from inputgrad.variables import Key


@dataclass(frozen=True)
class DoubleBackward(Engine):
    """⟨v, g⟩ with g = ``autograd.grad(s.sum(), z, create_graph=True)``, differentiated by autograd (Drucker & LeCun 1992).

    own_derivatives: put the library's own second derivatives in place where torch's are slow or missing (`inputgrad.derivatives`).
    """

    own_derivatives: bool = True

    name: ClassVar[str] = "double_backward"
    traits: ClassVar[Traits] = Traits(
        exact=True,
        needs="a second derivative for every operation of the model",
        passes="2 plain steps: forward, backward to the input, backward through both",
        memory="the graph of the pass and that of its backward pass, at once",
    )

    def watch(self, model: nn.Module) -> Watch:
        return Watch(phase=Phase() if self.own_derivatives else None, whole=True)

    def linearize(self, forward: ForwardPass, score: Score, wrt: tuple[Key, ...]) -> Linearization:
        forward.gather()
        forward.here()  # an error of the model's own forward pass stays its own
        with explained(self, forward, "twice"):
            seed = None
            if not proven(self, forward, score):
                seed = forward.here().output.new_ones(()).requires_grad_()
                forward.own_leaves.append(seed)
            gradient = input_gradient(forward, score, wrt, create_graph=True, seed=seed)
            prove(self, forward, score, gradient, seed)

        def here(v: Cotangents) -> Tensor:
            return torch.stack([(part * cotangent).sum() for part, cotangent in zip(gradient, v, strict=True)]).sum()

        return Linearization(tuple(part.detach() for part in gradient), here=here)
