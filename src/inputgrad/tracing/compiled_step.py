"""One program: a whole training step (model, input gradient, terms, parameter gradients) traced as one graph for inputs of one shape, and compiled.

The trace is made below autograd by ``make_fx`` on real tensors, so the graph asks for no derivative and nothing in it asks for a double backward. It holds
for the shapes, the modes and the schedule that it was made with; `compiled` keeps one for each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.passes.outputs import tensors_in, with_tensors
from inputgrad.passes.precision import LOSS_SCALE, Rows, is_float16_autocast
from inputgrad.passes.traced_draws import draws_random_numbers
from inputgrad.torch_internals import pytree
from inputgrad.torch_internals.tracing import holding, trace
from inputgrad.tracing.records import StepFunction, StepRequest, StepResult

_ONE = torch.ones(())
_SLOT = torch.empty(0)
"""Stands where a tensor was in what the model returned."""
_TENSOR = object()
"""Stands where a tensor is handed in at each run."""


class CompiledStep:
    """A compiled step for inputs of one shape. Buffers are read and written in place; parameters are read."""

    def __init__(self, request: StepRequest, backend: str, mode: str | None = None) -> None:
        model, step, inputs, target, weights = request.model, request.step, request.inputs, request.target, request.weights
        self._names: list[str] = []
        self._reached: list[str] = []
        leaves, self._structure = pytree.flatten((inputs, target, list(weights)))
        self._static = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._half = computes_in_float16(model)
        arguments = (*self._arguments(model, inputs, target, weights, copied=True), torch.ones(()))
        traced = trace(lambda *given: self._run(model, step, *given), *arguments)
        self._compiled = torch.compile(traced, dynamic=False, backend=backend, mode=mode)
        self._reuses_memory = mode is not None and "reduce-overhead" in mode
        """Whether a run writes its results where the run before it did, as CUDA graphs do: then they are copied."""
        self.traced = traced
        self.random = any(draws_random_numbers(node.target, node.args, node.kwargs) for node in traced.graph.nodes)
        """Whether it draws random numbers: the compiler's are other ones than torch's."""

    def constants(self) -> list[Tensor]:
        """The tensors from outside that the trace has taken in as they were: neither arguments of the step nor written as literals in the code."""
        found = []
        for node in self.traced.graph.nodes:
            literal = bool(node.users) and all(user.target in _LITERALS for user in node.users)
            if node.op == "get_attr" and not literal:
                value = getattr(self.traced, node.target, None)
                found += [value] if isinstance(value, Tensor) else []
        return found

    def __call__(self, model: nn.Module, inputs: Any, target: Any, weights: Sequence[Tensor], *, interpreted: bool = False) -> StepResult:
        """Run it; ``interpreted``: the traced graph itself, operation by operation, without the compiler."""
        run = self.traced if interpreted else self._compiled
        if not self._half and not interpreted:
            return self.run(dict(model.named_parameters()), dict(model.named_buffers()), inputs, target, weights)
        arguments = self._arguments(model, inputs, target, weights)
        kept = [buffer.clone() for buffer in arguments[1].values()] if self._half else []
        values: list[Any] = []

        def taken(scale: float) -> Rows:
            for buffer, value in zip(arguments[1].values(), kept, strict=True) if values else ():
                buffer.copy_(value)  # a second attempt
            *values[:], gradients = run(*arguments, torch.tensor(scale))
            return [gradients]

        with torch.no_grad():
            (gradients,) = LOSS_SCALE.unscaled(model, taken) if self._half else taken(1)
        loss, parts, output = values
        return self._result(loss, parts, output, gradients)

    def run(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Any, target: Any, weights: Sequence[Tensor]) -> StepResult:
        """Run it on these tensors of the model; without a scale of float16's."""
        leaves, _ = pytree.flatten((inputs, target, list(weights)))
        tensors = [leaf.detach() for leaf in leaves if isinstance(leaf, Tensor)]
        given = ({name: parameter.detach() for name, parameter in parameters.items()}, dict(buffers), tensors, _ONE)
        with torch.no_grad():
            return self._result(*(pytree.map_only(Tensor, torch.clone, self._compiled(*given)) if self._reuses_memory else self._compiled(*given)))

    def _result(self, loss: Tensor, parts: list[Tensor], output: list[Tensor], gradients: Sequence[Tensor | None]) -> StepResult:
        named = dict(zip(self._names, parts, strict=True))
        reached = {name: gradient for name, gradient in zip(self._reached, gradients, strict=True) if gradient is not None}
        tensors = iter(output)
        return StepResult(loss, named, with_tensors(self._returned, lambda _: next(tensors)), reached, None if self._half else self)

    def _arguments(
        self, model: nn.Module, inputs: Any, target: Any, weights: Sequence[Tensor], *, copied: bool = False
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
        leaves, _ = pytree.flatten((inputs, target, list(weights)))
        tensors = [leaf.detach() for leaf in leaves if isinstance(leaf, Tensor)]
        parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
        buffers = {name: buffer.clone() if copied else buffer for name, buffer in model.named_buffers()}
        return parameters, buffers, tensors

    def _run(
        self, model: nn.Module, step: StepFunction, parameters: dict[str, Tensor], buffers: dict[str, Tensor], tensors: list[Tensor], scale: Tensor
    ) -> Any:
        waiting = iter(tensors)
        leaves = [next(waiting) if static is _TENSOR else static for static in self._static]
        inputs, target, weights = pytree.unflatten(leaves, self._structure)
        wanted = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        if any(isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) for module in model.modules()):  # convolutions are fastest on this layout
            parameters = {name: _channels_last(parameter) for name, parameter in parameters.items()}
            inputs, target = pytree.map_only(Tensor, _channels_last, (inputs, target))
        opened = {name: p.detach().requires_grad_(name in wanted) for name, p in parameters.items()}
        with torch.enable_grad(), holding(model, {**opened, **buffers}):
            loss, parts, output, _ = step(inputs, target, weights)
            sources = {name: p for name, p in opened.items() if p.requires_grad}
            found = torch.autograd.grad(loss, list(sources.values()), scale.to(loss) if self._half else None, allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(sources, found, strict=True) if gradient is not None}
        self._names, self._reached = list(parts), list(gradients)
        self._returned = with_tensors(output, lambda _: _SLOT)
        return loss.detach(), [part.detach() for part in parts.values()], [part.detach() for part in tensors_in(output)], list(gradients.values())


def computes_in_float16(model: nn.Module) -> bool:
    """Whether the gradients of this model are computed in float16 here, and kept in a wider type."""
    parameters = [*model.parameters()]
    return bool(parameters) and is_float16_autocast(parameters[0].device) and all(parameter.dtype is not torch.float16 for parameter in parameters)


_LITERALS = (torch.ops.aten.lift_fresh_copy.default, torch.ops.aten.lift_fresh.default)
"""What a ``torch.tensor(...)`` in the traced code becomes."""


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
