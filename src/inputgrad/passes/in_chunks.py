"""Large tensors worked on a piece at a time, so that nothing of their size is made beside them; and sketches, by which two of them are compared one after
the other.

A sketch is a short vector of sums with random signs. It is linear, and keeps lengths: ‖S(a) − S(b)‖ is ‖a − b‖ within a few percent.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from inputgrad.devices import in_float64, joint_length, wide

_CHUNK = 1 << 18
_SKETCH = 1 << 12
"""How many numbers a sketch has: it keeps lengths to one part in the root of it."""


def chunks(flat: Tensor) -> tuple[Tensor, ...]:
    """Pieces of a tensor of one dimension, views of it."""
    return flat.split(_CHUNK)


def in_order(tensor: Tensor, like: Tensor) -> Tensor:
    """The numbers of a tensor as one row, in the order in which those of a copy of ``like`` lie in memory; a view where it lies so itself."""
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    if tensor.is_complex():  # real and imaginary parts, in which autograd's convention is the plain one
        tensor, like = torch.view_as_real(tensor.resolve_conj()), torch.view_as_real(like.detach())
    dense = torch.empty_like(like.detach(), device="meta")
    if tensor.stride() != dense.stride() or tensor.dtype != like.dtype:
        tensor = torch.empty_like(like.detach()).copy_(tensor)
    return tensor.as_strided((tensor.numel(),), (1,))


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of 0-d tensors; 0 of none."""
    parts = list(parts)
    return torch.stack(parts).sum() if parts else torch.zeros(())


def norm(flat: Tensor) -> float:
    """The length, computed in float64."""
    return joint_length(list(chunks(flat)))


def sketch(tensor: Tensor) -> Tensor:
    """A short vector in float64 where the device has it, whatever the tensor's layout in memory; the numbers themselves where they are few."""
    flat = (tensor.to_dense() if tensor.layout != torch.strided else tensor).detach().reshape(-1)
    flat = torch.view_as_real(flat.resolve_conj()).reshape(-1) if flat.is_complex() else flat
    if flat.numel() <= _SKETCH:
        return wide(flat)
    generator, sums = torch.Generator(flat.device), wide(flat.new_zeros(_SKETCH))
    for place, chunk in enumerate(chunks(flat)):
        generator.manual_seed(place)
        signs = torch.randint(0, 2, chunk.shape, generator=generator, dtype=torch.int8, device=chunk.device) * 2 - 1
        signed = torch.nn.functional.pad(wide(chunk) * signs, (0, -chunk.numel() % _SKETCH))
        sums += signed.view(-1, _SKETCH).sum(0)
    return sums


def relative_distance(one: Sequence[Tensor | None], other: Sequence[Tensor | None]) -> float:
    """‖one − other‖ / ‖other‖ of tensors or of their sketches, None counted as zero; ‖one − other‖ where the other is zero."""
    off, size = 0.0, 0.0
    for a, b in zip(one, other, strict=True):
        x, y = (torch.zeros((), dtype=torch.float64) if part is None else in_float64(part.detach()) for part in (a, b))
        off, size = off + float((x - y).square().sum()), size + float(y.square().sum())
    return (off / size) ** 0.5 if size else off**0.5
