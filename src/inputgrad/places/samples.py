"""Places at other samples: given ones, and points between the batch's samples and others.

Must not know heads, terms and engines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.places.base import Place, check_rows, held_input
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.variables import MODULE, Key, ModelInputs, described

if TYPE_CHECKING:
    from inputgrad.batch import Batch


Samples = TensorRef | tuple[TensorRef, ...] | Mapping[str, TensorRef]
"""Other samples: of one input, or of several in a tuple or dict."""


@dataclass(frozen=True, eq=False)
class Interpolate(Place):
    """x̂ = ε x + (1 − ε) x′ with one ε ~ U(0, 1) per sample: the place of the WGAN-GP penalty (Gulrajani et al. 2017, algorithm 1).

    other: the other samples x′, of the shape of the inputs: a tensor, a name or position of the target, or a callable of the batch (such as one that
    returns ``batch.target``).
    wrt: the input that is mixed.
    """

    other: TensorRef
    wrt: Key = 0

    def __post_init__(self) -> None:
        check_tensor_ref("Interpolate: other", self.other)

    def inputs(self, batch: "Batch") -> Any:
        here = batch.variable(self.wrt)
        other = resolve_tensor("Interpolate: other", self.other, batch)
        if not isinstance(other, Tensor) or other.shape != here.shape:
            raise ValueError(f"Interpolate: other must be a tensor of the inputs' shape {list(here.shape)}, got {described(other)}")
        epsilon = torch.rand(here.shape[0], *[1] * (here.dim() - 1), dtype=here.dtype, device=here.device)
        return batch.inputs_with({self.wrt: epsilon * here + (1 - epsilon) * other.detach().to(here)})


@dataclass(frozen=True, eq=False)
class Given(Place):
    """Other samples than the batch's own, such as a critic's fake ones: ``Given(fake)``, or ``Given("fake")`` where the target is a dict that holds them.

    other: a tensor of the shape of the inputs, another number of samples included; a name or position of the target; or a callable of the batch. For models
    of several inputs a tuple, ``Given((xb, tb))``, or a dict, ``Given({"x": xb, "label": labels})``, of such; integers (class labels, tokens) keep their
    type. Inputs that are not named stay the batch's.
    wrt: the input that one tensor replaces; several say themselves which they are.
    target: the target at these samples, where the head needs one (``of="loss"``, ``of="label"``, a callable), by default the batch's own: a tensor, a tuple or
    dict of tensors, or a callable of the batch.

    >>> boundary = Given((torch.zeros(4, 1), torch.rand(4, 1)))
    """

    other: Samples
    wrt: Key = 0
    target: Any = None

    def __post_init__(self) -> None:
        several = isinstance(self.other, (tuple, list, Mapping))
        if several and not len(self.other):  # type: ignore[arg-type]  # several have a length
            raise ValueError("Given: other is empty: give the samples of at least one input")
        if several and _is_none_of(self.wrt, self._parts(self.other)):
            raise TypeError(
                f"Given: several inputs say themselves which they are, and wrt={self.wrt!r} is none of {list(self._parts(self.other))}; leave it out"
            )
        for key, part in self._parts(self.other).items():
            check_tensor_ref(f"Given: other[{key!r}]" if several else "Given: other", part)

    def inputs(self, batch: "Batch") -> Any:
        found: dict[Key, Tensor] = {}
        other = self.other(batch) if callable(self.other) and not isinstance(self.other, Tensor) else self.other
        for key, part in self._parts(other).items():
            name = f"Given: other[{key!r}]" if isinstance(other, (tuple, list, Mapping)) else "Given: other"
            here, there = held_input(key, batch), resolve_tensor(name, part, batch)
            if there.shape[1:] != here.shape[1:]:
                hint = _other_form(other, batch)
                raise ValueError(f"{name} must be samples of the shape of inputs[{key!r}], {list(here.shape)}; got {described(there)} of {there.dtype}{hint}")
            found[key] = _as_the_input(name, there.detach(), here)
        if len({tensor.shape[0] for tensor in found.values() if tensor.dim()}) > 1:
            shapes = ", ".join(f"{key!r}: {list(tensor.shape)}" for key, tensor in found.items())
            raise ValueError(f"Given: the inputs must have the same number of samples; got {shapes}")
        check_rows("Given", found, batch)
        return batch.inputs_with(found)

    def target_at(self, batch: "Batch") -> Any:
        if self.target is None:
            return batch.target
        return self.target(batch) if callable(self.target) and not isinstance(self.target, Tensor) else self.target

    def _parts(self, other: Any) -> dict[Key, Any]:
        if isinstance(other, Mapping):
            return dict(other)
        return dict(enumerate(other)) if isinstance(other, (tuple, list)) else {self.wrt: other}

    def __repr__(self) -> str:
        settings = [shown(self.other), *([f"wrt={self.wrt!r}"] if self.wrt != 0 else []), *([] if self.target is None else [f"target={shown(self.target)}"])]
        return f"Given({', '.join(settings)})"


def _is_none_of(wrt: Key, parts: Mapping[Key, Any]) -> bool:
    """Whether it names none of several inputs, as far as that can be told without the model: a name of a tuple's may be a parameter's."""
    if isinstance(wrt, int):
        return not 0 <= wrt < len(parts)
    return not wrt.startswith(MODULE) and wrt not in parts and not all(isinstance(key, int) for key in parts)


def _as_the_input(name: str, given: Tensor, here: Tensor) -> Tensor:
    """In the type of an input that can be differentiated; for integers, such as labels and tokens, the integers that were given, on its device."""
    if here.is_floating_point() or here.is_complex():
        return given.to(here)
    if given.is_floating_point() or given.is_complex():
        raise TypeError(f"{name} must be integers, as the batch's own input is {here.dtype}; got {given.dtype}: give {name.rpartition(' ')[2]}.long()")
    return given.to(here.device)


def _other_form(other: Any, batch: "Batch") -> str:
    """The line to write where several inputs are given in one tensor, or the columns of one input by themselves."""
    names = [key for key, _ in ModelInputs.of(batch.inputs).tensors()]
    several = isinstance(other, (tuple, list, Mapping))
    if len(names) > 1 and not several:
        shown = ", ".join(f"{key!r}: …" for key in names)
        return (
            f". The model takes {len(names)} inputs: Given({{{shown}}}) gives samples for each"
            if all(isinstance(key, str) for key in names)
            else (f". The model takes {len(names)} inputs: Given((…, …)) gives samples for each")
        )
    return ". The model takes one tensor: Given(torch.stack([…], 1)) of its columns" if len(names) == 1 and several and len(other) > 1 else ""


def shown(value: Any) -> str:
    """A setting in words; of tensors the shape, never the numbers."""
    if isinstance(value, Tensor):
        return f"<{list(value.shape)} of {value.dtype}>"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {shown(part)}" for key, part in value.items()) + "}"
    return f"({', '.join(map(shown, value))})" if isinstance(value, (tuple, list)) else repr(value)
