"""Watches the gradients that a run takes: each ``autograd.grad`` and each backward pass, the input gradients among them, and the losses these reach.

Knows no other probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit.call_sites import Site, here, inside_library
from inputgrad.audit.observations.gradient_calls import GradientCall, GraphBehind, InputGradient, Request, Root
from inputgrad.audit.observations.tensor_origins import DeadTerm, LiveTerm
from inputgrad.audit.probes import autograd_graph, counterfactual, criterion_probe, gradient_hooks, requests, second_derivatives, term_effects
from inputgrad.audit.probes.patches import Patch
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.probes.requests import listed
from inputgrad.audit.probes.tensor_measures import sizes, value_range
from inputgrad.audit.probes.tensor_parallel_entries import kept_error
from inputgrad.audit.torch_internals import without_torch_function

_MEASURED = 2
"""How often the effect of a term is measured at one line."""
_GRAD = ("outputs", "inputs", "grad_outputs", "retain_graph", "create_graph", "allow_unused", "is_grads_batched", "materialize_grads")


class GradientProbe:
    """Follows the gradients of one run."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._by_tensor: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """The tensor that IS an input gradient -> its record."""
        self._edges: dict[InputGradient, Any] = {}
        """Where in the graph each input gradient of this step stands: the tensor itself may be changed in place."""
        self._taken: WeakIdKeyDictionary = WeakIdKeyDictionary()
        """Input -> the line where `autograd.grad` gave its gradient last."""
        self._measured, self._looked_at = dict[Site, int](), dict[Site, int]()

    def forget_graphs(self) -> None:
        self._edges.clear()

    def patches(self) -> list[Patch]:
        return [Patch(torch.autograd, "backward", self._backward)]

    def grad(self, func: Any, args: Any, kwargs: Any) -> Any:
        """`torch.autograd.grad`, as it was called."""
        given = {**dict(zip(_GRAD, args, strict=False)), **kwargs}
        roots, wanted = listed(given["outputs"]), listed(given["inputs"])
        if any(isinstance(root, GradientEdge) for root in roots):  # no tensor whose values or origin could be looked at
            return func(*args, **kwargs)
        request, site = requests.of_grad(roots[0], given), here()
        root = self._root(roots[0], given.get("grad_outputs"))
        criterion_probe.reached(self._recorder, autograd_graph.walked(value.grad_fn for value in roots) if self._recorder.losses_of_criteria else ())
        graph = self._coupled(autograd_graph.look(roots, wanted, kept=request.retain_graph), site, roots[0], wanted, root)
        call = self._record("grad", site, request, root, self._second(graph, site, request, roots, wanted, given.get("grad_outputs")))
        if counterfactual.keeps_graph(self._recorder.facts, call):
            args, kwargs = (), {**given, "create_graph": True, "retain_graph": True}
        result = kept_error(call, roots, lambda: func(*args, **kwargs))
        self._record_results(call, wanted, result, roots)
        return result

    def _backward(self, original: Callable[..., None]) -> Callable[..., None]:
        def backward(
            tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, grad_variables: Any = None, inputs: Any = None
        ) -> None:
            roots, part_of_another = listed(tensors), self._recorder.ownership.inside  # a pass within a pass
            if not self._recorder.watching or part_of_another or any(isinstance(root, GradientEdge) for root in roots):
                return original(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs)
            self._recorder.resume()  # a step that raised did not say so
            with without_torch_function():  # what is looked at here is no use of the user's
                request = requests.made(roots[0], create_graph, retain_graph, inputs_given=inputs is not None)
                call, leaves = self._before_backward(roots, request, grad_tensors)
            counterfactual.answer(call)
            if counterfactual.keeps_graph(self._recorder.facts, call):
                create_graph = retain_graph = True
            with self._recorder.ownership.added_by(call, roots, leaves):
                kept_error(call, roots, lambda: original(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs))
            return None

        return backward

    def transformed(self, name: str, variable: Tensor, gradient: Tensor) -> None:
        """A gradient that a transform of torch.func gave."""
        request = requests.made(gradient, False, None, transform=name)
        call = self._record("grad", here(), request, self._root(gradient, None, looked_at=False), GraphBehind())
        call.fate.wanted = 1
        self._add(call, variable, gradient)

    def read(self, tensor: Tensor, gradient: Tensor | None) -> None:
        """``tensor.grad`` was read, and gave this."""
        recorder, ownership = self._recorder, self._recorder.ownership
        if ownership.is_parameter(tensor):
            for call in () if ownership.emptying else ownership.calls_of(tensor):
                call.fate.parameter_gradient_read = True
            return
        calls, made = [] if inside_library() else self._filled(tensor), len(recorder.facts.calls)
        if gradient is None:
            if not tensor.is_leaf or not tensor.requires_grad:
                recorder.event("no gradient there", leaf=tensor.is_leaf, requires_grad=tensor.requires_grad, calls=made)
            elif made and recorder.facts.calls[-1].step == recorder.step:
                recorder.event("gradient did not get there", calls=made, taken=self._taken.get(tensor))
            return
        known = self._by_tensor.get(gradient)
        if not calls or (known is not None and known.call is calls[-1]):
            return
        calls[-1].fate.input_gradient_read = True
        self._add(calls[-1], tensor, gradient, sum_of=tuple(calls))

    def catching(self, tensor: Tensor, hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        return gradient_hooks.followed(self._recorder, tensor, hook, self._add)

    def _filled(self, tensor: Tensor) -> list[GradientCall]:
        """The backward passes whose gradients add up in the tensor's ``.grad``; of one that is no leaf (`retain_grad`) the last pass."""
        passes = [] if tensor.is_leaf else [call for call in self._recorder.facts.calls if call.kind == "backward"][-1:]
        return passes or self._recorder.ownership.input_calls(tensor)

    # what is recorded of it

    def _root(self, root: Tensor, direction: Any, *, looked_at: bool = True) -> Root:
        """looked_at: whether the graph behind it is read; what a transform gives has none of its own."""
        note = self._recorder.provenance.of(root)
        direction = next(iter(listed(direction)), None)
        edge, values = autograd_graph.summands(root) if looked_at else (None, ())
        along_ones = autograd_graph.summed_along_ones(root, direction)
        return Root(
            root.requires_grad,
            unrecorded=note.unrecorded,
            mean_over=note.mean_over,
            summed_outputs=note.summed_outputs if along_ones is None else along_ones,
            scale=self._recorder.scale if note.scaled else 1.0,
            scaled=note.scaled,
            derivative=bool(note.origins),
            values=values,
            values_by="" if edge is None else edge.node.name(),
        )

    def _record(self, kind: Literal["backward", "grad"], site: Site, request: Request, root: Root, graph: GraphBehind) -> GradientCall:
        call = GradientCall(kind, site, len(self._recorder.facts.calls), self._recorder.step, request, root, graph)
        self._recorder.facts.calls.append(call)
        return call

    def _coupled(self, graph: GraphBehind, site: Site, tensor: Tensor, wanted: list[Any], root: Root) -> GraphBehind:
        measured = graph.batch_norm_training and not self._measured.get(site) and not isinstance(wanted[0], GradientEdge)
        return replace(graph, coupling=term_effects.coupling(tensor, wanted[0], root.values)) if measured else graph

    def _second(self, graph: GraphBehind, site: Site, request: Request, roots: list[Tensor], wanted: list[Any], direction: Any) -> GraphBehind:
        """The graph, with what is measured of second derivatives; a few times at each line."""
        if self._looked_at.get(site, 0) >= _MEASURED or len(roots) != 1 or any(isinstance(value, GradientEdge) for value in wanted):
            return graph
        self._looked_at[site] = self._looked_at.get(site, 0) + 1
        origins, seed = self._recorder.provenance.of(roots[0]).origins.values(), next(iter(listed(direction)), None)
        first = [self._edges[item.gradient] for item in origins if item.gradient in self._edges]
        return second_derivatives.measured(graph, roots[0], wanted, seed, request, first)

    def _before_backward(self, roots: list[Tensor], request: Request, direction: Any) -> tuple[GradientCall, list[Tensor]]:
        """The call, recorded before the pass frees its graph, and the leaves of that graph."""
        ownership, site = self._recorder.ownership, here()
        nodes = autograd_graph.walked(root.grad_fn for root in roots)
        leaves = autograd_graph.leaves_among(nodes)
        self._mark_reached(roots, nodes)
        criterion_probe.reached(self._recorder, nodes)
        live, dead = self._terms(roots, site)
        ends = [self._edges[term.gradient].node for term in live if term.gradient in self._edges]
        graph = replace(
            autograd_graph.look(roots, (), kept=request.retain_graph, nodes=nodes),
            live_terms=tuple(live),
            dead_terms=tuple(dead),
            alone=bool(ends) and not autograd_graph.past(roots, ends),
            reaches=frozenset(id(leaf) for leaf in leaves),
            shared_with=ownership.sharing(set(nodes)),
            kept_in_parameters=ownership.with_graph(),
        )
        call = self._record("backward", site, request, self._root(roots[0], direction), graph)
        written = self._recorder.data_writes.wrong(roots, ownership.parameters())
        if written is not None:
            self._recorder.event("written under the graph", written[0].site, call=call, wrong=written[1])
        return call, leaves

    def _mark_reached(self, roots: list[Tensor], nodes: list[Any]) -> None:
        """The input gradients that stand in the graph of a loss, whichever way they came there (a buffer, an extension in C++)."""
        edges = {(root.grad_fn, root.output_nr) for root in roots}.union(*(node.next_functions for node in nodes)) if self._edges else set()
        for gradient, edge in self._edges.items():
            gradient.reached = gradient.reached or (edge.node, edge.output_nr) in edges

    def _terms(self, roots: Iterable[Tensor], site: Site) -> tuple[list[LiveTerm], list[DeadTerm]]:
        """What of the loss comes from input gradients."""
        live: list[LiveTerm] = []
        dead: list[DeadTerm] = []
        for root in roots:
            note = self._recorder.provenance.of(root)
            dead += note.dead
            for origin in note.origins.values():
                origin.gradient.reached = True
                if origin.alive:
                    way = tuple(operation for operation in origin.gradient.operations if operation in origin.through)
                    direct = any(item.moves for item in way) and autograd_graph.passes_layers_by(root, self._edges.get(origin.gradient))
                    live.append(LiveTerm(origin.gradient, *self._effect(root, origin.gradient), way, direct))
                elif not root.requires_grad or self._recorder.provenance.made_a_leaf(root):
                    dead.append(DeadTerm(origin, site, float(root.detach().double().mean()), tuple(root.shape), whole=True))
        return live, dead

    def _effect(self, root: Tensor, gradient: InputGradient) -> tuple[float | None, float | None]:
        """‖∂term/∂θ‖ through this input gradient, and ‖∂loss/∂g‖; a few times at each line."""
        if self._measured.get(gradient.site, 0) >= _MEASURED and not counterfactual.asks_of(gradient.call):
            return None, None
        self._measured[gradient.site] = self._measured.get(gradient.site, 0) + 1
        edge, parameters = self._edges.get(gradient), counterfactual.trained(self._recorder.ownership.parameters())
        return (None, None) if edge is None else term_effects.effect(root, edge, parameters)

    def _record_results(self, call: GradientCall, wanted: list[Any], result: Any, roots: list[Tensor]) -> None:
        for variable, gradient in zip(wanted, result, strict=False):
            if isinstance(variable, GradientEdge) or self._recorder.ownership.is_weight(variable):
                continue
            call.fate.wanted += 1
            call.fate.missing += gradient is None or (call.request.materialize and autograd_graph.apart(roots, variable))
            if gradient is not None:
                self._taken[variable] = call.site
                self._add(call, variable, gradient, roots[0])

    def _add(self, call: GradientCall, variable: Tensor | None, gradient: Tensor, root: Tensor | None = None, sum_of: tuple[GradientCall, ...] = ()) -> None:
        """Record an input gradient, and follow it from here on. variable: None where it is gone already."""
        above = next(iter(self._recorder.provenance.of(root).origins.values()), None) if root is not None else None
        record = InputGradient(
            call=call,
            site=here(),
            shape=tuple(gradient.shape),
            requires_grad=gradient.requires_grad,
            dtype=str(gradient.dtype).removeprefix("torch."),
            sizes=sizes(gradient),
            sum_of=sum_of,
            second_of=None if above is None else above.gradient,
            span=None if variable is None else value_range(variable),
            drawn=None if variable is None else self._recorder.interpolation.mixed(variable),
            by_leaf=variable is not None and variable.is_leaf,
            of_weights=variable is not None and self._recorder.ownership.made_of_parameters(variable),
        )
        call.input_gradients.append(record)
        self._recorder.provenance.begin(gradient, record, variable)
        self._by_tensor[gradient] = record
        if gradient.requires_grad:
            self._edges[record] = get_gradient_edge(gradient)
