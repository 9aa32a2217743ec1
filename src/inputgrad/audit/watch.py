"""Watching a run: what torch is asked for is followed while the user's own code runs unmodified, and nothing of torch stays changed afterwards.

Three ways in: a function mode (each function of torch that Python calls), `torch.autograd.backward` (through which every backward pass goes), and the hooks of
optimisers. What is asked of torch is always done as it was asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode, _get_current_function_mode
from torch.utils.weak import WeakIdKeyDictionary

from inputgrad.audit import closures, graph, hooks, updates, whatif, wrappers
from inputgrad.audit.draws import Draws
from inputgrad.audit.facts import Dead, Event, Facts, GradientCall, Pass, Reached, Source, Step
from inputgrad.audit.ledger import Contributions
from inputgrad.audit.lineage import Lineage, Mark
from inputgrad.audit.overwritten import Overwritten
from inputgrad.audit.sites import Site, here, ours

_NORMALISING = {"batch_norm"}
_DROPPING = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
_GRAD: Any = Tensor.grad
_DATA: Any = Tensor.data
_MEASURED = 2
"""How often the effect of a term is measured at one line."""


class Enough(BaseException):
    """Raised after the last watched step, to end a script cleanly; no ``except Exception`` stops it."""


class Watch(TorchFunctionMode):
    """Follows one run. ``steps``: how many optimiser steps are watched; then everything is let go, or with ``stop`` the run ends."""

    def __init__(self, steps: int = 3, *, stop: bool = False) -> None:
        super().__init__()
        self.facts = Facts()
        self.lineage = Lineage()
        self.contributions = Contributions()
        self.draws, self.overwritten = Draws(), Overwritten()
        self._limit, self._stop = steps, stop
        self._sources: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._edges: dict[Source, Any] = {}
        """Where in the graph each source of this step stands: the tensor itself may be changed in place."""
        self._counts: dict[int, int] = {}
        self._measured: dict[Site, int] = {}
        self._undo = contextlib.ExitStack()
        self.watching = False
        self._stepping = False
        """Whether an optimiser is at work: what it does itself is not followed, its closure is."""
        self._off = False
        self.scale = 1.0

    # begin and end

    def __enter__(self) -> Watch:
        super().__enter__()
        original = torch.autograd.backward
        torch.autograd.backward = self._patched(original)
        self._undo.callback(setattr, torch.autograd, "backward", original)
        for register, hook in ((register_optimizer_step_pre_hook, self._before_step), (register_optimizer_step_post_hook, self._after_step)):
            self._undo.callback(register(hook).remove)  # type: ignore[arg-type]  # torch names no hook that changes the arguments
        self._undo.enter_context(self.contributions.clearing(self._cleared))
        self._undo.enter_context(hooks.listening(self))
        self._undo.enter_context(wrappers.listening(self))
        self.watching = True
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        whatif.give_up(self)
        self.watching = False
        self._undo.close()
        if not self._off:
            super().__exit__(kind, error, traceback)
        if error is not None and not isinstance(error, Enough):
            self.facts.failure = error

    @property
    def step(self) -> int:
        return max(self._counts.values(), default=0)

    # functions

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.watching or self._stepping or _transforming():
            return func(*args, **kwargs)
        if func is torch.autograd.grad:
            return func(*args, **kwargs) if ours() else self._grad(func, args, kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._read(func, args)
        if name == "__set__":
            return self._written(func, args)
        self.overwritten.changing(name, args)
        result = func(*args, **kwargs)
        self.draws.follow(name, args, result)
        if name in _NORMALISING or name in _DROPPING:
            self._layer(name, args, kwargs, result)
        elif name in ("cross_entropy", "nll_loss") and args and isinstance(args[0], Tensor) and args[0].dim() == 2 and args[0].grad_fn is not None:
            self._event("cross entropy", classes=args[0].shape[1], by=args[0].grad_fn.name())
        if name == "register_hook":
            self._event("hook")
        if name in ("requires_grad_", "backward", "register_hook"):
            return result
        return self.lineage.follow(name, args, kwargs, result)

    def _read(self, func: Any, args: Any) -> Any:
        result = func(*args)
        if func == _GRAD.__get__:
            self._grad_read(args[0], result)
        elif func == _DATA.__get__ and isinstance(result, Tensor):
            self.overwritten.read(args[0], result)
            self.draws.follow("data", args, result)
            return self.lineage.follow("data", args, {}, result)
        elif isinstance(result, Tensor):
            return self.lineage.follow("view", args, {}, result)
        return result

    def _written(self, func: Any, args: Any) -> Any:
        if func == _GRAD.__set__ and (len(args) < 2 or args[1] is None):
            self.contributions.emptied(args[0])
        elif func == _DATA.__set__:
            self.overwritten.write(args[0])
            self._event("data written", shape=tuple(args[0].shape), requires_grad=args[0].requires_grad, parameter=isinstance(args[0], nn.Parameter))
        return func(*args)

    def _layer(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        kind = "batch_norm" if name in _NORMALISING else "dropout"
        position = 5 if kind == "batch_norm" else 2
        training = bool(kwargs.get("training", args[position] if len(args) > position else kind == "dropout"))
        mean = args[1] if kind == "batch_norm" and len(args) > 1 else kwargs.get("running_mean")
        state = id(mean) if mean is not None else 0
        draws = kind == "dropout" and training
        self.facts.passes.append(
            Pass(
                kind,  # type: ignore[arg-type]  # one of the two kinds, by its callers
                training,
                self.step,
                here(),
                state,
                len(self.facts.calls),
                result.requires_grad,
                hooks.layer(),
                hooks.told_apart(args[0] if args else kwargs["input"]) if draws else (),
                hooks.drawn(result) if draws else 0,
            )
        )

    def _event(self, name: str, **detail: Any) -> None:
        self.facts.events.append(Event(name, here(), self.step, detail))

    # gradients

    def _call(self, kind: Any, roots: Any, *, create_graph: bool, retain_graph: bool | None) -> GradientCall:
        tensors = [roots] if isinstance(roots, Tensor) else list(roots)
        root = tensors[0]
        mark = self.lineage.of(root)
        call = GradientCall(
            kind=kind,
            site=here(),
            number=len(self.facts.calls),
            step=self.step,
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
            scale=self.scale if mark.scaled else 1.0,
            autocast=torch.is_autocast_enabled(root.device.type),
        )
        self.facts.calls.append(call)
        return call

    def _grad(self, func: Any, args: Any, kwargs: Any) -> Any:
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
        if whatif.asked(self, call):
            args, kwargs = (), {**given, "create_graph": True, "retain_graph": True}
        try:
            result = func(*args, **kwargs)
        except RuntimeError as error:
            call.error = str(error)
            raise
        for variable, gradient in zip(wanted, result, strict=False):
            trained = self.contributions.is_weight(variable)
            call.wanted += not trained
            if gradient is None or (call.materialize and graph.apart(outputs, variable)):
                call.unused += 1
                call.silenced += not trained
            if gradient is not None and not trained:
                self._source(call, variable, gradient, outputs)
        return result

    def _source(self, call: GradientCall, variable: Tensor, gradient: Tensor, outputs: Any = None) -> Source:
        with torch.no_grad():
            rows = gradient.detach().flatten(1) if gradient.dim() > 1 else gradient.detach()[:, None] if gradient.dim() else gradient.detach().reshape(1, 1)
            zeros = rows == 0
        root = outputs if isinstance(outputs, Tensor) else outputs[0] if outputs else None
        above = next(iter(self.lineage.of(root).trails.values()), None) if root is not None else None
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
        self.lineage.begin(gradient, source, variable)
        source.span, source.drawn = graph.span(variable), self.draws.mixed(variable)
        self._sources[gradient] = source
        if gradient.requires_grad:
            self._edges[source] = torch.autograd.graph.get_gradient_edge(gradient)
        return source

    def _grad_read(self, tensor: Tensor, gradient: Tensor | None) -> None:
        if self.contributions.is_parameter(tensor):
            for call in () if self.contributions.emptying else self.contributions.calls_of(tensor):
                call.parameter_gradient_read = True
            return
        calls = [] if ours() else self.contributions.input_calls(tensor)
        if gradient is None:
            if not tensor.is_leaf or not tensor.requires_grad:
                self._event("no gradient there", leaf=tensor.is_leaf, requires_grad=tensor.requires_grad, calls=len(self.facts.calls))
            elif self.facts.calls and self.facts.calls[-1].step == self.step:
                self._event("gradient did not get there", calls=len(self.facts.calls))
            return
        if not calls or self._sources.get(gradient) in [source for call in calls for source in call.sources if source.call is calls[-1]]:
            return
        calls[-1].input_gradient_read = True
        source = self._source(calls[-1], tensor, gradient)
        source.accumulated, source.sum_of = len(calls), tuple(calls)

    def _patched(self, original: Callable[..., None]) -> Callable[..., None]:
        def backward(
            tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, grad_variables: Any = None, inputs: Any = None
        ) -> None:
            if not self.watching or self.contributions.inside:  # a pass within a pass is a part of it
                return original(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs)
            self._stepping = False  # a step that raised did not say so
            call = self._call("backward", tensors, create_graph=create_graph, retain_graph=retain_graph)
            call.inputs_given = inputs is not None
            roots = [tensors] if isinstance(tensors, Tensor) else list(tensors)
            graph.look(call, roots)
            graph.ones(call, roots[0], grad_tensors)
            self._reached(call, roots)
            ends = [self._edges[reached.source].node for reached in call.alive if reached.source in self._edges]
            call.alone = bool(ends) and not graph.past(roots, ends)
            self._written_under(call, roots)
            whatif.answer(self, call, roots)
            if whatif.asked(self, call):
                create_graph = retain_graph = True
            with self.contributions.added_by(call, roots):
                try:
                    original(tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs)
                except RuntimeError as error:
                    call.error = str(error)
                    raise
            return None

        return backward

    def _reached(self, call: GradientCall, roots: list[Tensor]) -> None:
        for root in roots:
            mark: Mark = self.lineage.of(root)
            call.dead += mark.dead
            for trail in mark.trails.values():
                trail.source.reached = True
                if not trail.alive and (not root.requires_grad or self.lineage.made_a_leaf(root)):
                    call.dead.append(Dead(trail, call.site, float(root.detach().double().mean()), tuple(root.shape), whole=True))
                if trail.alive:
                    call.alive.append(Reached(trail.source, *self._effect(call, root, trail.source)))

    def _written_under(self, call: GradientCall, roots: list[Tensor]) -> None:
        """Whether an input of this graph was changed behind its back, and what that does to the parameters' gradient."""
        with torch._C.DisableTorchFunction():
            found = self.overwritten.wrong(roots, self.contributions.parameters())
        if found is not None:
            self.facts.events.append(Event("written under the graph", found[0].site, self.step, {"call": call, "wrong": found[1]}))

    def _effect(self, call: GradientCall, root: Tensor, source: Source) -> tuple[float | None, float | None]:
        """‖∂term/∂θ‖ through this source, and ‖∂loss/∂g‖; a few times at each line."""
        if self._measured.get(source.site, 0) >= _MEASURED:
            return None, None
        self._measured[source.site] = self._measured.get(source.site, 0) + 1
        edge = self._edges.get(source)
        if edge is None:
            return None, None
        return whatif.effect(root, edge, self.contributions.parameters())

    # steps

    def _cleared(self, calls: list[GradientCall], site: Site) -> None:
        for call in calls:
            if not call.stepped:
                call.discarded, call.discarded_by = True, site

    def _before_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> closures.Arguments | None:
        if not self.watching:
            return None
        number = self._counts.setdefault(id(optimizer), 0)
        given = closures.around(args, kwargs, self._resume, lambda: self._at_step(optimizer, number, closure=True))
        if given is None:
            self._at_step(optimizer, number, closure=False)
        self._stepping = True
        return given

    def _resume(self) -> None:
        self._stepping = False

    def _at_step(self, optimizer: torch.optim.Optimizer, number: int, *, closure: bool) -> None:
        """What the step goes along; of a closure that is called several times in a step, at its first call."""
        whatif.give_up(self)
        with torch._C.DisableTorchFunction():
            shares, norm, stale, finite = self.contributions.at_step(optimizer)
            adaptive = "Adam" in type(optimizer).__name__ or type(optimizer).__name__ in ("RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam")
            alone = adaptive and bool(shares) and all(call.alive and call.alone for call in shares)
            tenfold = updates.tenfold(optimizer) if alone else None
        name = f"{type(optimizer).__name__} {list(self._counts).index(id(optimizer))}"
        if (name, number) not in [(step.optimizer, step.number) for step in self.facts.steps[-len(self._counts) :]]:
            self.facts.steps.append(Step(name, number, here(), shares, norm, adaptive, stale, closure, len(self.facts.calls), tenfold, not finite))
        for call in shares:
            call.stepped = True
        self._stepping = True

    def _after_step(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        if not self.watching:
            return
        self._stepping = False
        self.contributions.stepped(optimizer)
        self._edges.clear()
        self._counts[id(optimizer)] += 1
        if self.step >= self._limit:
            self._let_go()
            self.facts.ended_early = self._stop
            if self._stop:
                raise Enough

    def _let_go(self) -> None:
        """What comes after the last step costs nothing; the hooks, which are at work, are taken away at the end."""
        self.watching = False
        if _get_current_function_mode() is self:
            super().__exit__(None, None, None)
            self._off = True

    def sources(self) -> Iterator[Source]:
        return self.facts.sources


def _transforming() -> bool:
    """Whether a transform of torch.func is at work: its tensors hold no values that could be looked at."""
    return torch._C._functorch.maybe_current_level() is not None
