"""`torch.segment_reduce` in primitive operations: torch's own kernel has no second derivative.

    y_s = reduce over the rows of segment s: sum, mean, max, min, prod          an empty segment: ``initial``, or what torch gives for nothing

Where several rows attain the maximum they share its derivative, as in torch. Takes the memory of all segments at the length of the longest. Must not know of
models, engines or terms.
"""

from typing import Any

import torch
from torch import Tensor

from inputgrad.derivatives.substitution import BackwardTarget, Substitute
from inputgrad.derivatives.twice_differentiable import differentiated

_OF_NOTHING = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -torch.inf, "min": torch.inf}


def segment_reduce(
    _phase: BackwardTarget,
    data: Tensor,
    reduce: str,
    *,
    lengths: Tensor | None = None,
    indices: Tensor | None = None,
    offsets: Tensor | None = None,
    axis: int = 0,
    unsafe: bool = False,
    initial: float | None = None,
) -> Any:
    """``torch.segment_reduce`` of ``[*batch, L, *rest]``: ``[*batch, S, *rest]``, with ``lengths`` or ``offsets`` of each segment along ``axis``."""
    if not differentiated(data) or reduce not in _OF_NOTHING or indices is not None or (lengths is None) == (offsets is None):
        return NotImplemented
    counts = lengths if lengths is not None else offsets.diff(dim=-1)  # type: ignore[union-attr]  # one of both is given
    if counts.dim() != axis + 1 or not _fit(counts, data.shape[axis], unsafe=unsafe):
        return NotImplemented  # torch says what is wrong
    rows = data.reshape(-1, *data.shape[axis + 1 :])
    first = torch.arange(0, len(rows), data.shape[axis], device=data.device).reshape(*data.shape[:axis], 1) + counts.cumsum(-1) - counts
    start = _OF_NOTHING[reduce] if initial is None else initial
    table = _padded(rows, first.flatten(), counts.flatten(), start if reduce in ("max", "min") else _OF_NOTHING[reduce])
    result = _reduced(table, counts.flatten(), reduce, start, given=initial is not None)
    return result.reshape(*counts.shape, *data.shape[axis + 1 :])


def _fit(counts: Tensor, rows: int, *, unsafe: bool) -> bool:
    """Whether the segments fill the rows; with ``unsafe`` rows may be left over."""
    filled = counts.sum(-1)
    return rows > 0 and bool((counts >= 0).all() and ((filled <= rows) if unsafe else (filled == rows)).all())


def _padded(rows: Tensor, first: Tensor, counts: Tensor, padding: float) -> Tensor:
    """``[S, longest + 1, *rest]``: the rows of each segment, and padding behind them."""
    longest = int(counts.max()) if counts.numel() else 0
    place = torch.arange(longest + 1, device=rows.device)
    held = place < counts.unsqueeze(1)
    index = torch.where(held, first.unsqueeze(1) + place, len(rows))
    return torch.cat([rows, rows.new_full((1, *rows.shape[1:]), padding)])[index]


def _reduced(table: Tensor, counts: Tensor, reduce: str, start: float, *, given: bool) -> Tensor:
    if reduce in ("max", "min"):
        return table.amax(1) if reduce == "max" else table.amin(1)
    if reduce == "prod":
        return start * table.prod(1)
    total = start + table.sum(1)
    if reduce == "sum":
        return total
    size = counts.reshape(-1, *[1] * (total.dim() - 1))
    return torch.where(size > 0, total / size.clamp(min=1), start if given else torch.nan)


SUBSTITUTES: dict[Any, Substitute] = {torch.segment_reduce: segment_reduce}
