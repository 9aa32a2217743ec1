"""Frozen parameters that a model writes to in its forward pass, such as a momentum teacher's: copied as they are written, and put back like buffers."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.torch_internals.function_modes import unseen_by_modes, writes_to


class WrittenParameters(TorchFunctionMode):
    """Around a pass: keeps what a frozen parameter held before the first write to it. Nothing is copied of parameters that are only read."""

    def __init__(self, frozen: list[Tensor]) -> None:
        super().__init__()
        self._frozen = {parameter.untyped_storage().data_ptr(): parameter for parameter in frozen}
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        for tensor in (args[0],) if func == _SET_DATA else writes_to(func, args, kwargs):
            with unseen_by_modes():
                self._keep(tensor)
        return func(*args, **kwargs)

    def _keep(self, written: Tensor) -> None:
        try:
            parameter = self._frozen.get(written.untyped_storage().data_ptr())
        except (RuntimeError, NotImplementedError):  # a tensor of a transform, without a storage
            return
        if parameter is not None and id(parameter) not in self.before:
            self.before[id(parameter)] = (parameter, parameter.detach().clone())

    def restore(self) -> None:
        """Put the values from before the pass back."""
        put([*self.before.values()])

    @contextmanager
    def replayed(self, *, watched: bool) -> Iterator[None]:
        """Around a later pass: it starts from the values before the first one, and leaves those of the present. watched: whether further writes are seen."""
        now = [(parameter, parameter.detach().clone()) for parameter, _ in self.before.values()]
        self.restore()
        later = WrittenParameters([*self._frozen.values()])
        try:
            with later if watched else nullcontext():
                yield
        finally:
            later.restore()
            put(now)


def put(values: list[tuple[Tensor, Tensor]]) -> None:
    """Write values to parameters."""
    with torch.no_grad(), unseen_by_modes():
        for parameter, value in values:
            parameter.copy_(value)


def frozen_parameters(model: nn.Module | None) -> list[Tensor]:
    """The parameters that learn nothing, of ordinary kind."""
    found = [] if model is None else [parameter for parameter in model.parameters() if not parameter.requires_grad]
    return [parameter for parameter in found if type(parameter.data) is Tensor and parameter.device.type != "meta" and not parameter.is_inference()]


_SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]  # the stubs do not know the descriptor
