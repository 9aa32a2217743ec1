"""What each of two gloo processes runs: steps under a gradient scaler, replicated and sharded, and what became of them."""

import contextlib
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from inputgrad.engines import FiniteDifference, WeightAsStep
from tests.scale.cells import ENGINES, distance, full, sharded, told
from tests.scale.losses import LOSSES, cast, network, reference
from tests.scale.spawn import joined, left
from tests.scale.ways import pieces, replica

NORM = LOSSES["gradient norm"]
LAYOUTS = {"DDP": replica, "FSDP2": lambda model: sharded(model, nested=True)}
TAKEN: dict[str, Any] = {name: ENGINES[name] for name in ("double_backward", "reverse_over_forward", "finite_difference", "compiled")}
TAKEN |= {"one_sided": FiniteDifference("one_sided"), "weight_as_step": WeightAsStep()}
SCALE, TOO_LARGE = 2.0**12, 2.0**40


def step(layout: str, engine: str, dtype: torch.dtype, scale: float, *, by_call: bool) -> dict[str, Any]:
    """Scaled, gone backward, unscaled, clipped to a third and taken: the error of the norm and of the clipped gradient, and whether the weights moved."""
    whole = [part for part in reference(NORM, pieces()) if part is not None]
    size = torch.stack([part.norm() for part in whole]).norm()
    model, chunk = LAYOUTS[layout](network(torch.float32)), cast(pieces()[dist.get_rank()], torch.float32)
    criterion, scaler, optimiser = NORM.criterion(TAKEN[engine]), torch.amp.GradScaler("cpu", init_scale=scale), torch.optim.SGD(model.parameters(), 1.0)
    before = weights(model)
    half = torch.autocast("cpu", dtype) if dtype is torch.float16 else contextlib.nullcontext()
    with told():
        with half:
            loss = criterion(model, *chunk) if by_call else criterion.backward(model, *chunk, scaler=scaler).loss
        if by_call:
            scaler.scale(loss).backward()
    scaler.unscale_(optimiser)
    total = full(nn.utils.clip_grad_norm_(model.parameters(), float(size) / 3))
    assert total is not None
    off = distance([full(parameter.grad) for parameter in model.parameters()], [part / 3 for part in whole])
    scaler.step(optimiser)
    scaler.update()
    moved = any(not torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    return {"norm": abs(float(total - size)) / float(size), "gradient": off, "moved": moved, "lowered": scaler.get_scale() < scale}


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [(part.full_tensor() if isinstance(part, DTensor) else part).detach().clone() for part in model.parameters()]


def found() -> dict[str, dict[str, Any]]:
    answers = {}
    for layout in LAYOUTS:
        for engine in TAKEN:
            for dtype in (torch.float32, torch.float16):
                for by_call in (True, False):
                    answers[f"{layout}, {engine}, {str(dtype)[6:]}, {'by call' if by_call else 'at once'}"] = step(
                        layout, engine, dtype, SCALE, by_call=by_call
                    )
            if engine != "compiled":  # it has a scale of its own, and this one comes in float32
                answers[f"{layout}, {engine}, too large"] = step(layout, engine, torch.float16, TOO_LARGE, by_call=False)
    return answers


def changing(engine: str, column: str) -> float:
    """Sharded layer by layer, under autocast, on batches that differ from step to step: the largest error. A gradient that comes a step late is another's."""
    loss, model = LOSSES[column], sharded(network(torch.float32), nested=True)
    criterion, errors = loss.criterion(TAKEN[engine]), []
    for n in range(3):
        batches = [((1 + n) * x, (1 - n) * y) for x, y in pieces()]
        model.zero_grad()
        with told(), torch.autocast("cpu", torch.bfloat16):
            criterion.backward(model, *cast(batches[dist.get_rank()], torch.float32))
        errors.append(distance([full(parameter.grad) for parameter in model.parameters()], reference(loss, batches)))
    return max(errors)


CHANGING = [(engine, "gradient norm") for engine in TAKEN if engine != "compiled"] + [
    (engine, "gradient norm alone") for engine in TAKEN if engine not in ("compiled", "weight_as_step")
]


def main(rank: int, ranks: int, folder: str) -> None:
    joined(rank, ranks, folder)
    left(rank, folder, {**found(), **{f"{engine}, {column}": changing(engine, column) for engine, column in CHANGING}})
