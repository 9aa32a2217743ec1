"""`torch.nn.functional.grid_sample` with its branch decisions on a tape: in which cell of the image each point lies, and how it was brought back inside.

The kernel takes them out of sight. A point on the line between two cells, where grids made of pixel coordinates lie, changes its cell in a displaced pass, and
the derivative with respect to its coordinates jumps. Written out, on axis a, with i = ⌊c⌋ decided at x and t = c − i:

    bilinear:  (1 − t) · image[i] + t · image[i + 1]        bicubic: four such taps, cubic in t        nearest: image[round(c)]
"""

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inputgrad.passes.branches.norms import without_slope

if TYPE_CHECKING:
    from inputgrad.passes.branches.tape import BranchTape

Taps = list[tuple[Tensor, Tensor]]
"""(index, weight) of the pixels on one axis that a point is mixed from; the weight is zero outside of the image."""

_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def grid_sample(tape: "BranchTape", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The rule: `F.grid_sample`, and `torch.grid_sampler` and its like with their numbered modes."""
    names = ("input", "grid", "mode" if func.__name__ == "grid_sample" else "interpolation_mode", "padding_mode", "align_corners")
    given: dict[str, Any] = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": False} | dict(zip(names, args, strict=False)) | kwargs
    mode, padding = given.get("interpolation_mode", given["mode"]), given["padding_mode"]
    mode = mode if isinstance(mode, str) else _MODES[mode]
    padding = padding if isinstance(padding, str) else _PADDINGS[padding]
    image, grid, aligned = given["input"], given["grid"], bool(given["align_corners"])
    axes = [_taps(tape, grid[..., a], image.shape[-1 - a], mode, padding, aligned) for a in range(grid.shape[-1])]
    return _mixed(image, axes[::-1])


def _mixed(image: Tensor, axes: list[Taps]) -> Tensor:
    """Σ over the taps of all axes of weight · pixel; axes in the order of the image's."""
    flat, result = image.flatten(2), None
    for taps in itertools.product(*axes):
        place, weight = torch.zeros_like(taps[0][0]), torch.ones_like(taps[0][1])
        for size, (index, part) in zip(image.shape[2:], taps, strict=True):
            place, weight = place * size + index, weight * part
        pixels = flat.gather(2, place.flatten(1).unsqueeze(1).expand(-1, image.shape[1], -1)).view(*image.shape[:2], *place.shape[1:])
        summand = pixels * weight.unsqueeze(1)
        result = summand if result is None else result + summand
    assert result is not None
    return result


def _taps(tape: "BranchTape", coordinate: Tensor, size: int, mode: str, padding: str, aligned: bool) -> Taps:
    c = (coordinate + 1) / 2 * (size - 1) if aligned else ((coordinate + 1) * size - 1) / 2
    if mode != "bicubic":
        c = _inside(tape, c, size, padding, aligned)
    if mode == "nearest":
        return [_tap(tape.decide(lambda: c.round()), without_slope(torch.ones_like(c), c), size)]
    lower = tape.decide(lambda: c.floor())
    t = c - lower
    if mode == "bilinear":
        return [_tap(lower, 1 - t, size), _tap(lower + 1, t, size)]
    weights = (_outer(t + 1), _inner(t), _inner(1 - t), _outer(2 - t))
    return [_tap(_inside(None, lower + offset, size, padding, aligned), weight, size) for offset, weight in zip((-1, 0, 1, 2), weights, strict=True)]


def _tap(position: Tensor, weight: Tensor, size: int) -> tuple[Tensor, Tensor]:
    inside = (position >= 0) & (position <= size - 1)
    return position.detach().clamp(0, size - 1).long(), torch.where(inside, weight, 0)


def _inner(d: Tensor) -> Tensor:
    """The cubic convolution kernel (a = −3/4) at a distance d of at most 1."""
    return (1.25 * d - 2.25) * d * d + 1


def _outer(d: Tensor) -> Tensor:
    """The same at a distance between 1 and 2."""
    return ((-0.75 * d + 3.75) * d - 6) * d + 3


def _inside(tape: "BranchTape | None", c: Tensor, size: int, padding: str, aligned: bool) -> Tensor:
    """The coordinate brought back into the image; a whole one decides by itself, without a tape."""
    if padding == "zeros":
        return c
    if padding == "reflection":
        c = _reflected(tape, c, 0.0 if aligned else -0.5, size - 1.0 if aligned else float(size))
    below, above = _decided(tape, c <= 0), _decided(tape, c >= size - 1)
    return torch.where(below, 0, torch.where(above, size - 1, c))


def _reflected(tape: "BranchTape | None", c: Tensor, low: float, span: float) -> Tensor:
    if span == 0:
        return torch.zeros_like(c)
    away = c - low
    away = torch.where(_decided(tape, away < 0), -away, away)
    flips = _decided(tape, torch.floor(away / span))
    rest = away - flips * span
    return torch.where(flips % 2 == 0, rest + low, span - rest + low)


def _decided(tape: "BranchTape | None", decision: Tensor) -> Tensor:
    return decision if tape is None else tape.decide(lambda: decision)
