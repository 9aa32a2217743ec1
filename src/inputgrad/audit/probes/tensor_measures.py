"""Numbers taken of one tensor: the sizes of a gradient, the range of its values, what tells it apart from another. Knows nothing of what is followed."""

import torch
from torch import Tensor

from inputgrad.audit.observations.gradient_calls import Sizes

_SOME = 1000
"""Of how many values it is taken whether two tensors are the same."""


def sizes(gradient: Tensor) -> Sizes:
    """Zeros and norms of a gradient: of the whole, in the mean of its samples, and over its channels."""
    values = gradient.detach()
    with torch.no_grad():
        zeros = (values.flatten(1) if values.dim() > 1 else values[:, None] if values.dim() else values.reshape(1, 1)) == 0
    zero_rows, zero_share = int(zeros.all(1).sum()), float(zeros.float().mean()) if zeros.numel() else 0.0
    if not (values.is_floating_point() and values.dim() and values.numel()):
        return Sizes(zero_rows, zero_share)
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    row_norm, absolute = float(values.reshape(values.shape[0], -1).norm(dim=1).mean()), values.abs()
    return Sizes(
        zero_rows,
        zero_share,
        norm=float(values.norm()),
        row_norm=row_norm,
        channel_norm=float(values.norm(dim=1).mean()) if values.dim() > 2 else row_norm,
        smallest=float(torch.where(absolute > 0, absolute, torch.inf).min()),
    )


def value_range(value: Tensor) -> tuple[float, float] | None:
    """The smallest and the largest value; None where there is none."""
    if not value.is_floating_point() or not value.numel():
        return None
    low, high = value.detach().aminmax()
    return float(low), float(high)


def fingerprint(value: Tensor) -> tuple[float, ...]:
    """What tells one tensor of values apart from another, with high probability."""
    some = value.detach().reshape(-1)[:: max(1, value.numel() // _SOME)].double()
    return (float(some.sum()), float(some.abs().sum()), float(value.numel()))


def random_draw(result: Tensor) -> int:
    """Which random draw it was: by the state that the generator was left in."""
    state = torch.cuda.get_rng_state(result.device) if result.is_cuda else torch.get_rng_state()
    return hash(state.numpy().tobytes())
