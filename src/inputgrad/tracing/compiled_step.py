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
from inputgrad.torch_internals.compiler import KernelsFor
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
        parameters, buffers, tensors = dict(model.named_parameters()), dict(model.named_buffers()), _tensors(inputs, target, weights)
        self._parameters, self._buffers = list(parameters), list(buffers)
        copies = [buffer.clone() for buffer in buffers.values()]
        given = [*(parameter.detach() for parameter in parameters.values()), *copies, *tensors, torch.ones(())]
        traced = trace(lambda *tensors: self._run(model, step, tensors), *given)
        self._backend, self._mode = backend, mode
        self._kernels: KernelsFor | None = None
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
        parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
        if not self._half and not interpreted:
            return self.run(parameters, buffers, inputs, target, weights)
        given = self._given(parameters, buffers, inputs, target, weights)
        kept = [buffer.clone() for buffer in buffers.values()] if self._half else []
        results: list[Any] = []

        def taken(scale: float) -> Rows:
            for buffer, value in zip(buffers.values(), kept, strict=True) if results else ():
                buffer.copy_(value)  # a second attempt
            run = self.traced if interpreted else lambda *tensors: self._by_kernels(tensors)
            results[:] = run(*given, torch.tensor(scale))
            return [results[-len(self._reached) :] if self._reached else []]

        with torch.no_grad():
            (gradients,) = LOSS_SCALE.unscaled(model, taken) if self._half else taken(1)
        return self._result([*results[: len(results) - len(self._reached)], *(gradient for gradient in gradients if gradient is not None)])

    def run(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Any, target: Any, weights: Sequence[Tensor]) -> StepResult:
        """Run it on these tensors of the model; without a scale of float16's."""
        results = self._by_kernels([*self._given(parameters, buffers, inputs, target, weights), _ONE])
        return self._result([result.clone() for result in results] if self._reuses_memory else results)

    def _by_kernels(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        if self._kernels is None:
            self._kernels = KernelsFor(self.traced, tensors, self._backend, self._mode)
        results: Sequence[Tensor] = self._kernels(tensors)
        return results

    def _given(self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], inputs: Any, target: Any, weights: Sequence[Tensor]) -> list[Tensor]:
        """The tensors in the order in which the trace takes them, but for the scale."""
        return [*map(parameters.__getitem__, self._parameters), *map(buffers.__getitem__, self._buffers), *_tensors(inputs, target, weights)]

    def _result(self, results: Sequence[Tensor]) -> StepResult:
        """From the loss, its parts, the tensors of the output and the gradients, in a row."""
        before_output, before_gradients = 1 + len(self._names), len(results) - len(self._reached)
        tensors = iter(results[before_output:before_gradients])
        output = next(tensors) if self._returned is _SLOT else with_tensors(self._returned, lambda _: next(tensors))
        gradients = dict(zip(self._reached, results[before_gradients:], strict=True))
        parts = dict(zip(self._names, results[1:before_output], strict=True))
        return StepResult(results[0], parts, output, gradients, None if self._half else self)

    def _run(self, model: nn.Module, step: StepFunction, given: Sequence[Tensor]) -> list[Tensor]:
        last = len(self._parameters) + len(self._buffers)
        parameters, buffers = dict(zip(self._parameters, given, strict=False)), dict(zip(self._buffers, given[len(self._parameters) :], strict=False))
        tensors, scale = given[last:-1], given[-1]
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
        return [loss.detach(), *(part.detach() for part in (*parts.values(), *tensors_in(output))), *gradients.values()]


def computes_in_float16(model: nn.Module) -> bool:
    """Whether the gradients of this model are computed in float16 here, and kept in a wider type."""
    parameters = [*model.parameters()]
    return bool(parameters) and is_float16_autocast(parameters[0].device) and all(parameter.dtype is not torch.float16 for parameter in parameters)


def _tensors(inputs: Any, target: Any, weights: Sequence[Tensor]) -> list[Tensor]:
    if isinstance(inputs, Tensor) and isinstance(target, Tensor):
        return [inputs.detach(), target.detach(), *weights]
    return [leaf.detach() for leaf in pytree.leaves((inputs, target, list(weights))) if isinstance(leaf, Tensor)]


_LITERALS = (torch.ops.aten.lift_fresh_copy.default, torch.ops.aten.lift_fresh.default)
"""What a ``torch.tensor(...)`` in the traced code becomes."""


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
