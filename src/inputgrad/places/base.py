"""Places: where (`at`) the input gradient is taken, if not at the batch's own inputs.

Knows the batch; knows no head, no term and no engine.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inputgrad.errors import Suggesting
from inputgrad.variables import Key, ModelInputs, described, is_module

if TYPE_CHECKING:
    from inputgrad.batch import Batch

_ALL = {"Uniform": "draw them too, such as Uniform(0.0, 1.0, wrt=('x', 't'))", "": "give them too, in a tuple or dict"}
"""By place, how the other inputs get as many samples."""


class Place(metaclass=Suggesting):
    """``at``: other inputs than the batch's own, at which the input gradient is taken. Frozen: made once, drawn anew each step."""

    @abstractmethod
    def inputs(self, batch: "Batch") -> Any:
        """The inputs (tensor, tuple or dict, as the model is called) at which to differentiate; constants for the parameter gradient."""

    def target_at(self, batch: "Batch") -> Any:
        """The target of the samples there, for heads that need one: by default the batch's own."""
        return batch.target


def check_place(at: Any) -> Place:
    """The place itself. Raises `TypeError` for anything else."""
    if isinstance(at, Place):
        return at
    told = "for these samples write at=ig.Given(samples)" if isinstance(at, Tensor) else "for a perturbation write at=ig.Perturbed(perturbation)"
    raise TypeError(f"at must be a place, such as ig.Given(samples) or ig.Uniform(0.0, 1.0), or None for the batch's own inputs; got {described(at)}; {told}")


def held_input(key: Key, batch: "Batch") -> Tensor:
    """The batch's own tensor under a key, whether or not it can be differentiated. Raises `TypeError` for an input that is no tensor."""
    if is_module(key):
        return batch.variable(key)
    if key == 0 and isinstance(batch.inputs, Tensor):
        return batch.inputs
    called = ModelInputs.of(batch.inputs)
    value = called.values()[called.key(key, batch.model)]
    if not isinstance(value, Tensor):
        raise TypeError(f"inputs[{key!r}] is no tensor but {described(value)}, so no samples can take its place: leave it out")
    return value


def check_rows(place: str, found: Mapping[Key, Tensor], batch: "Batch") -> None:
    """Raises `ValueError` where other inputs keep the batch's rows, and there are not as many."""
    called = ModelInputs.of(batch.inputs)
    if called.bare:
        return  # there are no others
    inputs = dict(called.tensors())
    found = {called.key(given, batch.model): tensor for given, tensor in found.items() if tensor.dim() and not is_module(given)}
    if not found:
        return
    rows = next(iter(found.values())).shape[0]
    left = [key for key, z in inputs.items() if key not in found and z.dim() and z.shape[0] != rows]
    if left and any(inputs[key].shape[0] != rows for key in found):
        shapes = ", ".join(f"{key!r}: {list(inputs[key].shape)}" for key in left)
        raise ValueError(f"{place}: {rows} samples for {list(found)}, and others keep those of the batch ({shapes}): {_ALL.get(place, _ALL[''])}")
