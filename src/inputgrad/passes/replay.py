"""Replay: every pass of a step sees the random draws, buffers and attributes that the first pass saw, and only the first one leaves a trace.

So dropout draws one mask per step, running statistics are updated once per step, and a displaced pass differs from the first by its displacement alone.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.devices import devices_of, generator_state, is_capturing
from inputgrad.distributed.fsdp import UnshardedParameters
from inputgrad.distributed.placement import Placement
from inputgrad.errors import EngineError
from inputgrad.memory import memory
from inputgrad.passes.attributes import AttributeState
from inputgrad.passes.random_state import RandomState, random_state, set_random_state
from inputgrad.passes.traced_draws import TracedDraws
from inputgrad.passes.traces import look, snapshot
from inputgrad.passes.written_parameters import WrittenParameters, frozen_parameters
from inputgrad.torch_internals.modules import own_buffers
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import ModelInputs

_DRAWS = "draws"
_NO_ATTRIBUTES = AttributeState(None)


class RandomAndBufferState:
    """The state before the first pass of a step, put back for each later pass and taken away again after it."""

    def __init__(self, model: nn.Module, inputs: ModelInputs | None = None) -> None:
        self._model, self._inputs = model, inputs
        self.placement = Placement(model)
        self.reentrant = False
        """Whether a pass of this step has met re-entrant checkpointing."""
        self.output: Tensor | None = None
        """What the first pass gave, with its graph: the one pass that replicas hear of."""
        self._gathered: UnshardedParameters | None = None
        self._random: RandomState | None = None
        self._buffers: Buffers = []
        self._attributes = _NO_ATTRIBUTES
        self._written: WrittenParameters | None = None
        """What frozen parameters held that the first pass wrote to; None where the model has none."""
        self._renormalising: list[tuple[Any, float]] = []
        """Embeddings that bring the rows they look up to their ``max_norm``, in place: done once per step, as the later passes find them so."""
        self._draws: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def whole(self) -> bool:
        """Whether the passes from here on are of whole parameters, where the model is sharded."""
        return self._gathered is not None

    def gather(self) -> None:
        """Make every pass from here on one of whole parameters."""
        if self._gathered is None:
            self._gathered = self.placement.gathered()

    def remember(self) -> None:
        """Take the present state as the one that every pass starts from: called before the first pass, it makes that leave no trace either."""
        if is_tracing():
            self._draws = TracedDraws().run
        self._random = random_state(devices_of(self._model, () if self._inputs is None else [tensor for _, tensor in self._inputs.tensors()]))
        self._attributes = AttributeState(self._model)
        frozen = [] if is_tracing() or not self.placement.local else frozen_parameters(self._model)
        self._written = WrittenParameters(frozen) if frozen else None
        self._remember_buffers()
        self._find_renormalising()

    def rewind(self) -> None:
        """Put back the remembered state, as if no pass had been made since."""
        assert self._random is not None
        set_random_state(self._random)
        self._attributes.restore()
        if self._written is not None:
            self._written.restore()
        for module, name, buffer in self._buffers:
            live = own_buffers(module)[name]
            if live is None or live.shape != buffer.shape:
                own_buffers(module)[name] = buffer
            else:
                live.detach().copy_(buffer)

    def _remember_buffers(self) -> None:
        self._buffers = copied_buffers(self._model)

    def _find_renormalising(self) -> None:
        embeddings = (module for module in self._model.modules() if isinstance(module, (nn.Embedding, nn.EmbeddingBag)))
        self._renormalising = [(module, module.max_norm) for module in embeddings if module.max_norm is not None]

    def _note_draws(self) -> None:
        """Remember of each device whether a pass of the model draws from its generator."""
        for device, before in self._random.of_devices.items() if self._random is not None else ():
            if before is not None and (now := generator_state(device)) is not None:
                known, key = memory(self._model).measured, (_DRAWS, device)
                known[key] = known.get(key, False) or not torch.equal(before, now)

    def _refuse_draws_in_a_graph(self) -> None:
        """Raises `EngineError` where a later pass should see draws again while a graph is captured, which cannot be done."""
        for device in self._random.devices if self._random is not None else ():
            if is_capturing(device) and memory(self._model).measured.get((_DRAWS, device), True):
                raise EngineError(
                    f"a graph is being captured on {device}, and {type(self._model).__name__} draws random numbers there (dropout), which a later pass of this "
                    "step has to see again: under capture the generator cannot be put back. Call model.eval(), leave the dropout out, or take "
                    "engine='double_backward' with terms that need one pass only. Make two steps before the capture, so that this is known"
                )

    @contextmanager
    def run(self, *, program: bool = False) -> Iterator[None]:
        """Around a pass of the model: the first runs live and is remembered, the later ones run on what it started from.

        program: a compiled one runs, which no mode may watch: a compiler would take the mode into its graph.
        """
        with self._replayed(program=program), self._gathered.run() if self._gathered else nullcontext():
            yield

    @contextmanager
    def _replayed(self, *, program: bool) -> Iterator[None]:
        if self._random is None:
            self.remember()
            assert self._random is not None
            before = snapshot(self._model, self._random) if self.placement.local else None
            with self._draws(), self.placement.first_pass(self._remember_buffers), self._written or nullcontext():
                yield
            self._note_draws()
            if before is not None:
                look(self._model, before, others=bool(self._written and self._written.before))
            return
        self._refuse_draws_in_a_graph()
        put_back = replayed(self._model, self._random, self._buffers)
        written = self._written.replayed(watched=not program) if self._written else nullcontext()
        with put_back, self._attributes.replayed(), written, self._draws(), self.placement.further_pass(), _without_renormalising(self._renormalising):
            yield


@contextmanager
def _without_renormalising(embeddings: list[tuple[Any, float]]) -> Iterator[None]:
    """Around a later pass, which finds the rows renormalised already."""
    for embedding, _ in embeddings:
        embedding.max_norm = None
    try:
        yield
    finally:
        for embedding, norm in embeddings:
            embedding.max_norm = norm


Buffers = list[tuple[nn.Module, str, Tensor]]
"""Modules with a buffer each, by name, and its value."""


@contextmanager
def replayed(model: nn.Module | None, random_before: RandomState, buffers_before: Buffers) -> Iterator[None]:
    """Around a run that starts from this random state and these buffers, and leaves no trace in either."""
    now = random_state(random_before.devices)
    live = copied_buffers(model, copy=False)
    set_random_state(random_before)
    for module, name, buffer in buffers_before:
        own_buffers(module)[name] = buffer.clone()
    try:
        yield
    finally:
        set_random_state(now)
        for module, name, buffer in live:
            own_buffers(module)[name] = buffer


def copied_buffers(model: nn.Module | None, *, copy: bool = True) -> Buffers:
    """The buffers of the model and of all that it holds; without ``copy``, themselves."""
    return [] if model is None else [(module, name, buffer.detach().clone() if copy else buffer) for module, name, buffer in _buffers(model)]


def _buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in model.modules():
        for name, buffer in own_buffers(module).items():
            if buffer is not None:
                yield module, name, buffer
