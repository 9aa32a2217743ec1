"""What passes of a plain step change, put back for the later ones: torch's generators and the buffers that the model is known to write on, no more."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from torch import Tensor, nn

from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.passes.traces import Generators
from inputgrad.step.plain_form import PlainForm
from inputgrad.torch_internals.modules import own_buffers
from inputgrad.variables import ModelInputs


class Start:
    """What the passes of a form's steps change, as it is now."""

    def __init__(self, form: PlainForm, inputs: ModelInputs) -> None:
        self.generators = Generators(inputs)
        self._draws = form.traces.draws
        self._buffers: list[tuple[MutableMapping[str, Tensor | None], str, Tensor]] = []
        for reference, name in form.buffers:
            if (module := reference()) is not None and (buffer := (own := own_buffers(module)).get(name)) is not None:
                self._buffers.append((own, name, buffer.detach().clone()))

    @contextmanager
    def again(self, inputs: ModelInputs) -> Iterator[None]:
        """Around a run that starts from here and leaves no trace."""
        now = Generators(inputs) if self._draws else None
        live = [own[name] for own, name, _ in self._buffers]
        if now is not None:
            self.generators.put_back()
        for own, name, buffer in self._buffers:
            own[name] = buffer.clone()
        try:
            yield
        finally:
            for (own, name, _), before in zip(self._buffers, live, strict=True):
                own[name] = before
            if now is not None:
                now.put_back()

    def rewind(self) -> None:
        """Put it back, as if no pass had been made since."""
        self.generators.put_back()
        for own, name, buffer in self._buffers:
            live = own[name]
            if live is None or live.shape != buffer.shape:
                own[name] = buffer
            else:
                live.detach().copy_(buffer)


def state_before(form: PlainForm, model: nn.Module, inputs: ModelInputs) -> Start | RandomAndBufferState | None:
    """The state before a step, as much of it as may have to be put back."""
    if form.rewindable and not form.traces.can_be_undone:
        state = RandomAndBufferState(model, inputs)
        state.remember()
        return state
    return Start(form, inputs) if form.rewindable or form.may_draw else None
