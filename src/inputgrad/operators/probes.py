"""Random vectors along which operators are estimated. Knows no model."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.torch_internals.draws import normal_like

Probe = Literal["rademacher", "gaussian", "coordinates"]


def probes_for(shapes: Sequence[Tensor], count: int | None, probe: Probe) -> list[list[Tensor]] | None:
    """Random vectors v with E vvᵀ = 1; for each its part for each variable."""
    if count is None or probe != "coordinates":
        return None if count is None else [[_drawn(z, probe) for z in shapes] for _ in range(count)]
    sizes = [z[0].numel() for z in shapes]
    if count > sum(sizes):
        raise ValueError(f'probe="coordinates" draws each coordinate once at most, and there are {sum(sizes)}; got probes={count}. None takes them all')
    drawn = torch.randperm(sum(sizes), device=shapes[0].device)[:count]
    rows = torch.zeros(count, sum(sizes), dtype=shapes[0].dtype, device=shapes[0].device).scatter_(1, drawn[:, None], sum(sizes) ** 0.5)
    return [[part.view(z.shape[1:]).expand_as(z) for part, z in zip(row.split(sizes), shapes, strict=True)] for row in rows]


def _drawn(z: Tensor, probe: Probe) -> Tensor:
    return normal_like(z) if probe == "gaussian" else torch.randint(0, 2, z.shape, dtype=z.dtype, device=z.device) * 2 - 1


def check_probes(probes: Any, probe: Any) -> None:
    if probes is not None and (isinstance(probes, bool) or not isinstance(probes, int) or probes < 1):
        raise ValueError(f"probes must be a whole number of random vectors, at least 1, or None for the exact operator; got {probes!r}")
    if probe not in ("rademacher", "gaussian", "coordinates"):
        raise ValueError(f"probe={probe!r}: {nearest(probe, ('rademacher', 'gaussian'))}")
