"""Places whose points are drawn at each step: uniform in a box, or around the samples.

Knows the batch; knows no head, no term and no engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.devices import moved_like
from inputgrad.errors import nearest
from inputgrad.places.base import Place, check_rows
from inputgrad.tensor_refs import TensorRef, check_tensor_ref, resolve_tensor
from inputgrad.torch_internals.draws import normal_like
from inputgrad.variables import Key, Wrt, keys_of

if TYPE_CHECKING:
    from inputgrad.batch import Batch

Bound = float | Tensor | Sequence[float]
"""One number for all features, or numbers of the shape of one sample, in a tensor or a list."""


@dataclass(frozen=True, eq=False)
class Uniform(Place):
    """Points uniform in a box, drawn anew at each step: where a constraint should hold on the whole domain, not at the data alone.

    low, high: the box: numbers, or tensors or lists of the shape of one sample, ``[0.0, -1.0]``; equal where a feature does not vary. Several inputs
    can have bounds of their own, in dicts.
    n: how many points; by default as many as the batch has samples. Another number works with heads that need no target.
    wrt: the input that is drawn, or several in a tuple, which then all have n points.

    >>> interior = Uniform({"x": -1.0, "t": 0.0}, 1.0, n=1000, wrt=("x", "t"))
    """

    low: Bound | Mapping[Key, Bound] = 0.0
    high: Bound | Mapping[Key, Bound] = 1.0
    n: int | None = None
    wrt: Wrt = 0

    def __post_init__(self) -> None:
        _read_box(self)
        for key in keys_of(self.wrt):
            check_box("Uniform", self._bound("low", key), self._bound("high", key))
        if self.n is not None and (isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1):
            raise ValueError(f"Uniform: n must be a number of points, at least 1, or None for as many as the batch has; got {self.n!r}")

    def inputs(self, batch: "Batch") -> Any:
        drawn = {}
        for key in keys_of(self.wrt):
            here = batch.variable(key)
            drawn[key] = in_box("Uniform", self._bound("low", key), self._bound("high", key), here.shape[0] if self.n is None else self.n, here)
        check_rows("Uniform", drawn, batch)
        return batch.inputs_with(drawn)

    def _bound(self, side: str, key: Key) -> Bound:
        given: Bound | Mapping[Key, Bound] = getattr(self, side)
        if not isinstance(given, Mapping):
            return given
        if key not in given:
            raise ValueError(f"Uniform: {side} names no bound of {key!r}; {nearest(key, given)}")
        return given[key]


@dataclass(frozen=True, eq=False)
class Near(Place):
    """Each sample displaced by normal noise, x + σ·N(0, 1), followed by points uniform in a box: where IGR asks for the norm 1 (Gropp et al. 2020).

    sigma: σ, a number, or one per sample ``[N]``: a tensor, a name or a position of the target, or a callable of the batch; in the paper the distance of the
    sample to its 50th neighbour.
    low, high: the box, as in `Uniform`.
    share: the number of uniform points as a share of the samples, rounded down.
    wrt: the input that is displaced.
    """

    sigma: TensorRef | float
    low: Bound = -1.8
    high: Bound = 1.8
    share: float = 0.125
    wrt: Key = 0

    def __post_init__(self) -> None:
        _read_box(self)
        check_box("Near", self.low, self.high)
        if not isinstance(self.sigma, float):
            check_tensor_ref("Near: sigma", self.sigma)
        elif not 0 <= self.sigma < float("inf"):
            raise ValueError(f"Near: sigma must be a width, at least 0 and finite; got {self.sigma!r}")
        if not 0 <= self.share < float("inf"):
            raise ValueError(f"Near: share must be at least 0 and finite, got {self.share!r}")

    def inputs(self, batch: "Batch") -> Any:
        here = batch.variable(self.wrt)
        near = here + normal_like(here) * self._width(batch, here)
        everywhere = in_box("Near", self.low, self.high, int(here.shape[0] * self.share), here)
        return batch.inputs_with({self.wrt: torch.cat((near, everywhere))})

    def _width(self, batch: "Batch", here: Tensor) -> float | Tensor:
        if isinstance(self.sigma, float):
            return self.sigma
        sigma = resolve_tensor("Near: sigma", self.sigma, batch).detach().to(here)
        if sigma.dim() and sigma.shape != here.shape[:1]:
            raise ValueError(f"Near: sigma must be one number, or one per sample, [{here.shape[0]}]; got {list(sigma.shape)}")
        return sigma.reshape(-1, *[1] * (here.dim() - 1))


def read_bound(given: Any) -> Any:
    """The bound, or several by input, with lists of numbers as tensors; what is no bound stays what it is, for `check_box` to tell."""
    if isinstance(given, Mapping):
        return {key: read_bound(bound) for key, bound in given.items()}
    if not isinstance(given, (list, tuple)):
        return given
    try:
        return torch.tensor(given, dtype=torch.float64)
    except (TypeError, ValueError):
        return given


def _read_box(place: Place) -> None:
    """Once, where the place is made: a tensor is moved to a device once."""
    for side in ("low", "high"):
        object.__setattr__(place, side, read_bound(getattr(place, side)))


def in_box(name: str, low: Bound, high: Bound, n: int, here: Tensor) -> Tensor:
    """``n`` points uniform in the box, of the type of the samples ``here``."""
    ends = []
    for side, bound in (("low", low), ("high", high)):
        end = moved_like(bound, here) if isinstance(bound, Tensor) else here.new_full((), float(bound))  # type: ignore[arg-type]  # lists have become tensors
        if end.dim() and end.shape != here.shape[1:]:
            raise ValueError(f"{name}: {side} must be a number or of the shape of one sample, {list(here.shape[1:])}; got {list(end.shape)}")
        ends.append(end)
    return ends[0] + (ends[1] - ends[0]) * torch.rand(n, *here.shape[1:], dtype=here.dtype, device=here.device)


def check_box(name: str, low: Bound, high: Bound) -> None:
    """Raises for bounds that are no numbers, or the wrong way round."""
    for side, bound in (("low", low), ("high", high)):
        if isinstance(bound, bool) or not isinstance(bound, (int, float, Tensor)):
            raise TypeError(f"{name}: {side} must be a number or a tensor or list of the shape of one sample, such as [0.0, -1.0]; got {bound!r}")
    ends = torch.as_tensor(low).detach().cpu(), torch.as_tensor(high).detach().cpu()
    if all(end.dim() for end in ends) and ends[0].shape != ends[1].shape:
        raise ValueError(f"{name}: low has shape {list(ends[0].shape)} and high {list(ends[1].shape)}; give both the shape of one sample")
    if not bool((ends[0] <= ends[1]).all()) or not bool(torch.isfinite(ends[1] - ends[0]).all()):
        raise ValueError(f"{name}: low must not be above high, and both finite; got low={low!r}, high={high!r}")
