"""The gradients that a run takes: each ``autograd.grad`` and each backward pass, the input gradients among them, and the losses that these reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit import entries, graph, whatif
from inputgrad.audit.facts import Event, GradientCall, Reached, Source
from inputgrad.audit.marks import Mark
from inputgrad.audit.sites import Site, here, ours
from inputgrad.audit.trails import Dead

if TYPE_CHECKING:
    from inputgrad.audit.watch import Watch

_MEASURED = 2
"""How often the effect of a term is measured at one line."""


class Gradients:
    """Follows the gradients of one run."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._sources: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._edges: dict[Source, Any] = {}
        """Where in the graph each source of this step stands: the tensor itself may be changed in place."""
        self._measured: dict[Site, int] = {}

    def stepped(self) -> None:
        """A step is over: graphs of it are let go."""
        self._edges.clear()

    def _call(self, kind: Any, roots: Any, *, create_graph: bool, retain_graph: bool | None) -> GradientCall:
        tensors = [roots] if isinstance(roots, Tensor) else list(roots)
        root = tensors[0]
        mark = self._watch.lineage.of(root)
        call = GradientCall(
            kind=kind,
            site=here(),
            number=len(self._watch.facts.calls),
            step=self._watch.step,
            create_graph=create_graph,
            retain_graph=create_graph if retain_graph is None else retain_graph,
            grad_enabled=torch.is_grad_enabled(),
            inference=torch.is_inference_mode_enabled() or root.is_inference(),
            root_shape=tuple(root.shape),
            root_requires_grad=root.requires_grad,
            mean_over=mark.mean_over,
            summed_outputs=mark.summed_outputs,
            scaled=mark.scaled,
            unrecorded=mark.unrecorded,
            scale=self._watch.scale if mark.scaled else 1.0,
            autocast=torch.is_autocast_enabled(root.device.type),
        )
        self._watch.facts.calls.append(call)
        return call

    def taken(self, func: Any, args: Any, kwargs: Any) -> Any:
        names = ("outputs", "inputs", "grad_outputs", "retain_graph", "create_graph", "allow_unused", "is_grads_batched", "materialize_grads")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        outputs, inputs = given["outputs"], given["inputs"]
        call = self._call("grad", outputs, create_graph=bool(given.get("create_graph")), retain_graph=given.get("retain_graph"))
        call.allow_unused, call.materialize = bool(given.get("allow_unused")), bool(given.get("materialize_grads"))
        wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        graph.look(call, outputs, wanted)
        graph.ones(call, outputs if isinstance(outputs, Tensor) else outputs[0], given.get("grad_outputs"))
        if call.batch_norm_training and not self._measured.get(call.site):
            call.coupling = whatif.coupling(outputs if isinstance(outputs, Tensor) else outputs[0], wanted[0], call.values)
        if whatif.asked(self._watch, call):
            args, kwargs = (), {**given, "create_graph": True, "retain_graph": True}
        try:
            with entries.watched(call, outputs):
                result = func(*args, **kwargs)
        except RuntimeError as error:
            call.error = str(error)
            raise
        for variable, gradient in zip(wanted, result, strict=False):
            trained = self._watch.contributions.is_weight(variable)
            call.wanted += not trained
            if gradient is None or (call.materialize and graph.apart(outputs, variable)):
                call.unused += 1
                call.silenced += not trained
            if gradient is not None and not trained:
                self._source(call, variable, gradient, outputs)
        return result

    def transformed(self, name: str, variable: Tensor, gradient: Tensor) -> None:
        """A gradient that a transform of torch.func gave."""
        call = self._call("grad", gradient, create_graph=False, retain_graph=None)
        call.transform, call.wanted = name, 1
        self._source(call, variable, gradient)

    def _source(self, call: GradientCall, variable: Tensor, gradient: Tensor, outputs: Any = None) -> Source:
        with torch.no_grad():
            rows = gradient.detach().flatten(1) if gradient.dim() > 1 else gradient.detach()[:, None] if gradient.dim() else gradient.detach().reshape(1, 1)
            zeros = rows == 0
        root = outputs if isinstance(outputs, Tensor) else outputs[0] if outputs else None
        above = next(iter(self._watch.lineage.of(root).trails.values()), None) if root is not None else None
        source = Source(
            call=call,
            site=here(),
            shape=tuple(gradient.shape),
            requires_grad=gradient.requires_grad,
            dtype=str(gradient.dtype).removeprefix("torch."),
            zero_rows=int(zeros.all(1).sum()),
            zero_share=float(zeros.float().mean()) if zeros.numel() else 0.0,
            leaf=variable.is_leaf,
            second_of=above.source if above is not None else None,
        )
        graph.norms(source, gradient)
        call.sources.append(source)
        self._watch.lineage.begin(gradient, source, variable)
        source.span, source.drawn = graph.span(variable), self._watch.draws.mixed(variable)
        self._sources[gradient] = source
        if gradient.requires_grad:
            self._edges[source] = torch.autograd.graph.get_gradient_edge(gradient)
        return source

    def read(self, tensor: Tensor, gradient: Tensor | None) -> None:
        if self._watch.contributions.is_parameter(tensor):
            for call in () if self._watch.contributions.emptying else self._watch.contributions.calls_of(tensor):
                call.parameter_gradient_read = True
            return
        calls = [] if ours() else self._watch.contributions.input_calls(tensor)
        if gradient is None:
            if not tensor.is_leaf or not tensor.requires_grad:
                self._watch.event("no gradient there", leaf=tensor.is_leaf, requires_grad=tensor.requires_grad, calls=len(self._watch.facts.calls))
            elif self._watch.facts.calls and self._watch.facts.calls[-1].step == self._watch.step:
                self._watch.event("gradient did not get there", calls=len(self._watch.facts.calls))
            return
        if not calls or self._sources.get(gradient) in [source for call in calls for source in call.sources if source.call is calls[-1]]:
            return
        calls[-1].input_gradient_read = True
        source = self._source(calls[-1], tensor, gradient)
        source.accumulated, source.sum_of = len(calls), tuple(calls)

    def patched(self, original: Callable[..., None]) -> Callable[..., None]:
        def backward(
            tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, grad_variables: Any = None, inputs: Any = None
        ) -> None:
            if not self._watch.watching or self._watch.contributions.inside:  # a pass within a pass is a part of it
                return original(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs)
            self._watch.steps.resume()  # a step that raised did not say so
            call = self._call("backward", tensors, create_graph=create_graph, retain_graph=retain_graph)
            call.inputs_given = inputs is not None
            roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
            graph.look(call, roots)
            graph.ones(call, roots[0], grad_tensors)
            self._reached(call, roots)
            ends = [self._edges[reached.source].node for reached in call.alive if reached.source in self._edges]
            call.alone = bool(ends) and not graph.past(roots, ends)
            self._written_under(call, roots)
            whatif.answer(self._watch, call, roots)
            if whatif.asked(self._watch, call):
                create_graph = retain_graph = True
            with self._watch.contributions.added_by(call, roots):
                try:
                    with entries.watched(call, roots):
                        original(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs)
                except RuntimeError as error:
                    call.error = str(error)
                    raise
            return None

        return backward

    def _reached(self, call: GradientCall, roots: list[Tensor]) -> None:
        for root in roots:
            mark: Mark = self._watch.lineage.of(root)
            call.dead += mark.dead
            for trail in mark.trails.values():
                trail.source.reached = True
                if not trail.alive and (not root.requires_grad or self._watch.lineage.made_a_leaf(root)):
                    call.dead.append(Dead(trail, call.site, float(root.detach().double().mean()), tuple(root.shape), whole=True))
                if trail.alive:
                    call.alive.append(Reached(trail.source, *self._effect(call, root, trail.source)))

    def _written_under(self, call: GradientCall, roots: list[Tensor]) -> None:
        """Whether an input of this graph was changed behind its back, and what that does to the parameters' gradient."""
        with torch._C.DisableTorchFunction():
            found = self._watch.overwritten.wrong(roots, self._watch.contributions.parameters())
        if found is not None:
            self._watch.facts.events.append(Event("written under the graph", found[0].site, self._watch.step, {"call": call, "wrong": found[1]}))

    def _effect(self, call: GradientCall, root: Tensor, source: Source) -> tuple[float | None, float | None]:
        """‖∂term/∂θ‖ through this source, and ‖∂loss/∂g‖; a few times at each line."""
        if self._measured.get(source.site, 0) >= _MEASURED:
            return None, None
        self._measured[source.site] = self._measured.get(source.site, 0) + 1
        edge = self._edges.get(source)
        if edge is None:
            return None, None
        return whatif.effect(root, edge, self._watch.contributions.parameters())
