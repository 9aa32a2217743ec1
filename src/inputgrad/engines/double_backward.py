"""Double backward: the input gradient with its own graph (``create_graph=True``). Exact, eager, any term.

Needs every operation of the model to have a second derivative. Whether it has is tried once for each model and shape of the inputs, so that the error
is raised here, with the operation's name, and not in the user's ``loss.backward()``.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from inputgrad.derivatives import BackwardTarget
from inputgrad.engines.base import Cotangents, Engine, GradientRequest, Linearization, Traits
from inputgrad.errors import EngineError
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.pass_options import PassOptions
from inputgrad.passes.second_derivative import as_engine_error, check_second_derivative, is_checked

_WHOLE = "Use activation checkpointing with engine='double_backward'"


@dataclass(frozen=True)
class DoubleBackward(Engine):
    """⟨v, g⟩ with g = ``autograd.grad(s.sum(), z, create_graph=True)``, differentiated by autograd (Drucker & LeCun 1992).

    own_derivatives: put the library's own second derivatives in place where torch's are slow or missing (`inputgrad.derivatives`).
    recompute: hold less memory. What cheap operations can compute again (activations, normalisations, changes of shape) is computed again in the backward
    passes and not held; of the products of the backward pass that gives the input gradient, every third is held. The gradients are the same numbers.
    """

    own_derivatives: bool = True
    recompute: bool = False

    name: ClassVar[str] = "double_backward"
    traits: ClassVar[Traits] = Traits(
        exact=True,
        needs="a second derivative for every operation of the model",
        passes="2 plain steps: forward, backward to the input, backward through both",
        memory="the graph of the pass and that of its backward pass, at once",
    )

    def pass_options(self, model: nn.Module) -> PassOptions:
        return PassOptions(phase=BackwardTarget() if self.own_derivatives else None, whole=True, recompute=self.recompute)

    def linearize(self, request: GradientRequest) -> Linearization:
        forward, score = request.forward, request.score
        if self.recompute and (forward.placement.is_fsdp or forward.placement.is_sharded):
            raise EngineError(f"DoubleBackward(recompute=True) does not work with sharded models, and {type(forward.model).__name__} is one. {_WHOLE}")
        forward.gather()
        forward.primal()  # an error of the model's own forward pass stays its own
        with as_engine_error(self, forward, "twice"):
            seed = None
            if not is_checked(self, forward, score):
                if request.lean:  # the check frees the run that it is made on, which may be another gradient's too
                    forward.free_graph()
                seed = forward.primal().output.new_ones(()).requires_grad_()
                forward.own_leaves.append(seed)
            gradient = input_gradient(forward, score, request.wrt, create_graph=True, seed=seed)
            check_second_derivative(self, forward, score, gradient, seed, request.wrt, spend=request.lean)
            if seed is not None and request.lean:  # the check has freed the graph as it went, as a step does
                gradient = input_gradient(forward, score, request.wrt, create_graph=True)

        def same_pass(v: Cotangents) -> Tensor:
            return torch.stack([(part * cotangent).sum() for part, cotangent in zip(gradient, v, strict=True)]).sum()

        return Linearization(tuple(part.detach() for part in gradient), same_pass=same_pass)
