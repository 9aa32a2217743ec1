"""What a model keeps from one pass to the next, put back between the passes of a step where their traces are known. Must not know engines and terms."""

import weakref
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn

from inputgrad.passes.attributes import have_changed, is_users, own_attributes
from inputgrad.passes.traces import SMALL, Generators, Traces, note
from inputgrad.torch_internals.modules import own_buffers
from inputgrad.torch_internals.tensors import times_written
from inputgrad.variables import ModelInputs


class UnforeseenError(BaseException):
    """A term asks for what no earlier step of this form needed, or the model does what none of its passes did: the step is to be made in full.

    Not an `Exception`: a term of the user's that catches those does not see it.
    """


class Kept:
    """Where a model keeps what its passes may change, found once."""

    def __init__(self, model: nn.Module, traces: Traces) -> None:
        """traces: what its passes were seen to change."""
        self.traces = traces
        self._model = weakref.ref(model)
        written: dict[str, set[str]] = {}
        for place, name in traces.buffers:
            written.setdefault(place, set()).add(name)
        self._holders = [(weakref.ref(module), written.get(place, set())) for place, module in model.named_modules() if own_buffers(module)]
        self._users = [weakref.ref(module) for module in model.modules() if is_users(module)]

    def now(self, inputs: ModelInputs) -> "KeptNow":
        """What is there now."""
        held = [(own_buffers(module), names) for reference, names in self._holders if (module := reference()) is not None]
        attributes = [vars(module) for reference in self._users if (module := reference()) is not None]
        return KeptNow(self, Generators(inputs), held, attributes)

    def note(self, *, draws: bool = False, others: bool = False) -> None:
        """Remember that a pass has drawn random numbers for the first time, or changed what is not put back here."""
        if (model := self._model()) is not None:
            note(model, draws=draws, others=others)


class KeptNow:
    """The generators, buffers and attributes at one moment. Buffers that are large, and were never seen to be written on, are not copied but looked at."""

    def __init__(
        self, kept: Kept, generators: Generators, held: list[tuple[MutableMapping[str, Tensor | None], set[str]]], attributes: list[dict[str, Any]]
    ) -> None:
        self._kept, self.generators = kept, generators
        self._buffers: list[tuple[MutableMapping[str, Tensor | None], dict[str, Tensor | None]]] = []
        self._large: list[tuple[MutableMapping[str, Tensor | None], str, Tensor, int]] = []
        for own, written in held:
            copied: dict[str, Tensor | None] = {}
            for name, buffer in own.items():
                if buffer is None or buffer.numel() <= SMALL or name in written:
                    copied[name] = None if buffer is None else buffer.detach().clone()
                else:
                    self._large.append((own, name, buffer, times_written(buffer)))
            self._buffers.append((own, copied))
        self._attributes = [(all_of_it, own_attributes(all_of_it), len(all_of_it)) for all_of_it in attributes]

    def first(self) -> AbstractContextManager[None]:
        """Around the first pass from here, which runs live."""
        return _First(self)

    def again(self, inputs: ModelInputs) -> AbstractContextManager[None]:
        """Around a further pass, which starts from here and leaves no trace."""
        for own, before, count in self._attributes:
            if have_changed(own, before, count):
                self._kept.note(others=True)
                raise UnforeseenError
        return _Again(self, inputs)

    def put_back(self) -> list[dict[str, Tensor | None]]:
        """Put generators and buffers back, as far as passes change them. Gives the buffers that there are."""
        live = [dict(own) for own, _ in self._buffers]
        if self._kept.traces.draws:
            self.generators.rewind()
        for own, copied in self._buffers:
            own.update({name: None if buffer is None else buffer.clone() for name, buffer in copied.items()})
        return live

    def restore(self, live: list[dict[str, Tensor | None]], generators: Generators) -> None:
        """Take these in place of what there is."""
        for (own, _), before in zip(self._buffers, live, strict=True):
            for name in own.keys() - before.keys():
                del own[name]
            own.update(before)
        if self._kept.traces.draws:
            generators.rewind()

    def look(self, generators: Generators) -> None:
        """Raises `UnforeseenError` where a pass has done what none that was looked at did, which the later ones would not see put back."""
        draws = not self._kept.traces.draws and generators.have_moved()
        others = any(own.get(name) is not buffer or times_written(buffer) != count for own, name, buffer, count in self._large)
        if draws or others:
            self._kept.note(draws=draws, others=others)
            raise UnforeseenError

    def rewind(self) -> None:
        """Put it back, as if no pass had been made since."""
        self.generators.rewind()
        for own, copied in self._buffers:
            for name, buffer in copied.items():
                live = own.get(name)
                if live is None or buffer is None or live.shape != buffer.shape:
                    own[name] = buffer
                else:
                    live.detach().copy_(buffer)
        for own, before, _ in self._attributes:
            for name in own_attributes(own).keys() - before.keys():
                del own[name]
            own.update(before)


class _First(AbstractContextManager[None]):
    """A class, like the next one, and no generator's context, which takes longer: they are entered in each step."""

    def __init__(self, start: KeptNow) -> None:
        self._start = start

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, *_raised: Any) -> None:
        if kind is None:
            self._start.look(self._start.generators)


class _Again(AbstractContextManager[None]):
    def __init__(self, start: KeptNow, inputs: ModelInputs) -> None:
        self._start, self._inputs = start, inputs

    def __enter__(self) -> None:
        self._now = Generators(self._inputs)
        self._live = self._start.put_back()

    def __exit__(self, kind: Any, *_raised: Any) -> None:
        self._start.restore(self._live, self._now)
        if kind is None:
            self._start.look(self._now)
