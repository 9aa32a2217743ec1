"""Watches the criteria of this library: where one is made, what it is asked, and whether the loss that it gave is trained. Knows no other probe.

The library is not imported for it: its loss is watched once the user's own code has imported it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.audit.probes.patches import Patch, installed
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.torch_internals import node_number

_MODULE = "inputgrad.loss"
_CLASSIFYING = ("CrossEntropyLoss", "NLLLoss", "cross_entropy", "nll_loss")


@contextlib.contextmanager
def watched(recorder: Recorder) -> Iterator[None]:
    """While the block lasts criteria are watched; from their import on where that is still to come."""
    with contextlib.ExitStack() as undo:

        def install(module: Any) -> None:
            undo.enter_context(installed(patches(recorder, module.InputGradientLoss)))

        if _MODULE in sys.modules:
            install(sys.modules[_MODULE])
        else:
            finder = _AtImport(install)
            sys.meta_path.insert(0, finder)
            undo.callback(lambda: sys.meta_path.remove(finder) if finder in sys.meta_path else None)
        yield


class _AtImport(MetaPathFinder):
    """Calls a function with the module of the loss when that has been imported."""

    def __init__(self, then: Callable[[Any], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._then)
        return spec


class _Loader(Loader):
    """Loads a module as its own loader does, which may be that of many, and gives it back afterwards."""

    def __init__(self, own: Loader, then: Callable[[Any], None]) -> None:
        self._own, self._then = own, then

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._own.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._own
        self._own.exec_module(module)
        self._then(module)


def patches(recorder: Recorder, criterion: type) -> list[Patch]:
    def making(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def __init__(made: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807  # it takes the place of one
            original(made, *args, **kwargs)
            if recorder.watching and made.terms:
                recorder.event("criterion made", owner=weakref.ref(made))

        return __init__

    def calling(trained: bool, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(asked: Any, model: nn.Module, inputs: Any, target: Any = None, **options: Any) -> Any:
            counted = recorder.watching and torch.is_grad_enabled() and asked.training and bool(asked.terms)
            step = original(asked, model, inputs, target, **options)
            if counted:
                detail: dict[str, Any] = {"owner": id(asked), "reached": trained, "idle": _of_no_weight(asked), "summed": _sums_classes(asked, step.output)}
                recorder.event("criterion called", **detail)
                if not trained and isinstance(step.loss.grad_fn, torch.autograd.graph.Node):
                    recorder.losses_of_criteria[node_number(step.loss.grad_fn)] = recorder.facts.events[-1].detail
            return step

        return call

    kinds = (("evaluate", False), ("backward", True))
    made = [Patch(criterion, "__init__", making), Patch(criterion, "forward", _by_evaluate)]
    return [*made, *(Patch(criterion, name, functools.partial(calling, trained)) for name, trained in kinds)]


def _by_evaluate(original: Callable[..., Any]) -> Callable[..., Any]:
    """The loss alone is made without a record of the step; the audit looks at that record."""

    @functools.wraps(original)
    def forward(asked: Any, model: nn.Module, inputs: Any, target: Any = None) -> Tensor:
        loss: Tensor = asked.evaluate(model, inputs, target).loss
        return loss

    return forward


def reached(recorder: Recorder, nodes: Iterable[Any]) -> None:
    """A backward pass goes through these nodes, and so through the losses of criteria among them."""
    waiting = recorder.losses_of_criteria
    if waiting:
        for number in {node_number(node) for node in nodes} & set(waiting):
            waiting.pop(number)["reached"] = True


def _of_no_weight(criterion: Any) -> tuple[str, ...]:
    """The terms whose weight is the number 0; one that a schedule gives may be another later."""
    return tuple(item.term.name for item in criterion.terms if isinstance(item.weight, (int, float)) and item.weight == 0)


def _sums_classes(criterion: Any, output: Any) -> tuple[str, ...]:
    """The terms of the sum of all outputs, where the base loss goes by the label's and there are several."""
    base = type(criterion.base).__name__ if isinstance(criterion.base, nn.Module) else getattr(criterion.base, "__name__", "")
    if base not in _CLASSIFYING or not isinstance(output, Tensor) or output.dim() != 2 or output.shape[1] < 2:
        return ()
    return tuple(item.term.name for item in criterion.terms if getattr(item.term, "of", None) == "output")
