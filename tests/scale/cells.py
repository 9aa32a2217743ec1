"""One cell of the matrix: an engine, a layout and a loss, its parameter gradient against the reference, or the refusal."""

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import inputgrad as ig
from inputgrad.engines import Compiled
from tests.scale.losses import LOSSES, ROWS, Chunk, Loss, cast, part, reference, seed
from tests.traced import BACKEND

ENGINES: dict[str, Any] = {
    "double_backward": "double_backward",
    "reverse_over_forward": "reverse_over_forward",
    "finite_difference": "finite_difference",
    "weight_as_step": "weight_as_step",
    "compiled": Compiled(backend=BACKEND),
    "auto": "auto",
}
EXACT = 1e-10
TOLERANCE = {"finite_difference": 1e-6, "weight_as_step": 3e-2}
"""Relative difference of the whole parameter gradient in float64; `EXACT` for the other engines."""
HALF = {"finite_difference": 1e-1, "weight_as_step": 1e-1}
"""The same under autocast to bfloat16; 5e-2 for the other engines."""
RANKS = 2
ALONE = ("single", "autocast", "accumulation", "checkpointing", "re-entrant checkpointing")
TOGETHER = ("ddp", "ddp no_sync", "fsdp root", "fsdp nested", "fsdp checkpointing", "fsdp bfloat16", "tensor parallel")
LAYOUTS = {
    "single": "one process",
    "ddp": "DDP, 2 processes",
    "ddp no_sync": "DDP, `no_sync` twice per step",
    "fsdp root": "FSDP2, 2 processes, root",
    "fsdp nested": "FSDP2, 2 processes, nested",
    "fsdp checkpointing": "FSDP2, 2 processes, checkpointing",
    "fsdp bfloat16": "FSDP2, 2 processes, bfloat16 policy",
    "tensor parallel": "tensor parallelism, 2 processes",
    "autocast": "autocast, bfloat16",
    "accumulation": "accumulation, 4 micro-batches",
    "checkpointing": "checkpointing",
    "re-entrant checkpointing": "checkpointing, re-entrant",
}


QUICKLY_COMPILED = ("single", "autocast", "ddp no_sync", "fsdp root", "re-entrant checkpointing")


def losses(layout: str, engine: str, *, quick: bool) -> tuple[str, ...]:
    """The losses an engine is tried on. quick: the compiled engine on one loss and few layouts, since a trace takes two seconds."""
    if quick and engine == "compiled":
        return ("gradient norm",) if layout in QUICKLY_COMPILED else ()
    return tuple(LOSSES)


def half(layout: str) -> bool:
    """Whether its passes are in bfloat16, so that parameters and data are float32."""
    return layout in ("autocast", "fsdp bfloat16")


def tolerance(layout: str, engine: str) -> float:
    return HALF.get(engine, 5e-2) if half(layout) else TOLERANCE.get(engine, EXACT)


class Checkpointed(nn.Module):
    """Layers whose activations are computed again in the backward pass."""

    def __init__(self, layers: nn.Module, *, reentrant: bool) -> None:
        super().__init__()
        self.layers, self.reentrant = layers, reentrant

    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.layers, x, use_reentrant=self.reentrant)


def sharded(model: nn.Module, *, nested: bool, **settings: Any) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (RANKS,))
    for layer in [*model.modules()][1:] if nested else ():
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh, **settings)
    return fully_shard(model, mesh=mesh, **settings)


def split(layers: nn.Sequential) -> nn.Module:
    """The first two linear layers by columns and by rows (Shoeybi et al. 2019), so that what lies between them is split over the processes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    return parallelize_module(layers, init_device_mesh("cpu", (RANKS,)), {"0": ColwiseParallel(), "2": RowwiseParallel()})


def model_of(loss: Loss, layout: str) -> nn.Module:
    model = loss.model(torch.float32 if half(layout) else torch.float64)
    layers = model.layers if loss.energy else model
    assert isinstance(layers, nn.Sequential)
    if "checkpointing" in layout:
        reentrant = layout.startswith("re-")
        layers = nn.Sequential(Checkpointed(layers[:2], reentrant=reentrant), Checkpointed(layers[2:], reentrant=reentrant))
    elif layout == "tensor parallel":
        layers = split(layers)
    if not loss.energy:
        model = layers
    else:
        model.layers = layers
    if layout.startswith("ddp"):
        return nn.parallel.DistributedDataParallel(model)
    if layout.startswith("fsdp"):
        return sharded(model, nested=layout != "fsdp root", **_policy(layout))
    return model


def _policy(layout: str) -> dict[str, Any]:
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return {"mp_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)} if layout == "fsdp bfloat16" else {}


def shared_out(layout: str) -> bool:
    """Whether each process has its own share of the batch."""
    return layout in TOGETHER and layout != "tensor parallel"


def chunks_of(loss: Loss, layout: str) -> list[Chunk]:
    """The pieces that the whole batch is taken in, over all processes, in order."""
    pieces = {"ddp no_sync": 2 * RANKS, "accumulation": 4}.get(layout, RANKS if shared_out(layout) else 1)
    size = ROWS // pieces
    return [part(loss.batch(), slice(size * n, size * (n + 1))) for n in range(pieces)]


def step(model: nn.Module, criterion: ig.InputGradientLoss, layout: str, chunks: list[Chunk], *, by_call: bool) -> None:
    """One step as a user writes it: this process's pieces, one after the other, and nothing synchronised before the last."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if shared_out(layout) else (0, 1)
    numbers = [n for n in range(len(chunks)) if n % ranks == rank]
    for n in numbers:
        torch.manual_seed(seed(n))
        waiting: AbstractContextManager[Any] = contextlib.nullcontext()
        if layout == "ddp no_sync" and n != numbers[-1]:
            waiting = model.no_sync()
        with waiting:
            _backward(model, criterion, layout, chunks[n], by_call=by_call)
    for parameter in model.parameters() if len(numbers) > 1 else ():
        if parameter.grad is not None:
            parameter.grad /= len(numbers)


def _backward(model: nn.Module, criterion: ig.InputGradientLoss, layout: str, chunk: Chunk, *, by_call: bool) -> None:
    chunk = cast(chunk, torch.float32) if half(layout) else chunk
    autocast = torch.autocast("cpu", torch.bfloat16) if layout == "autocast" else contextlib.nullcontext()
    with autocast:
        loss = criterion(model, *chunk) if by_call else criterion.backward(model, *chunk).loss
    if by_call:
        loss.backward()


def full(gradient: Tensor | None) -> Tensor | None:
    from torch.distributed.tensor import DTensor

    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def distance(found: Sequence[Tensor | None], expected: Sequence[Tensor | None]) -> float:
    """‖found − expected‖ / ‖expected‖, absent gradients counted as zeros."""
    zero = torch.zeros(())
    pairs = [(zero if a is None else a.double(), zero if b is None else b) for a, b in zip(found, expected, strict=True)]
    length = math.hypot(*[float(b.norm()) for _, b in pairs])
    assert length > 0
    return math.hypot(*[float((a - b).norm()) for a, b in pairs]) / length


@contextlib.contextmanager
def told() -> Iterator[list[str]]:
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += sorted({str(warning.message) for warning in caught if "engine" in str(warning.message)})


def cell(layout: str, engine: str, name: str, *, quick: bool) -> dict[str, Any]:
    """Three steps (quick: two), by ``criterion(...).backward()`` and ``criterion.backward(...)``: the largest difference; or what was said instead."""
    from torch.distributed.tensor import DTensor

    loss = LOSSES[name]
    chunks = chunks_of(loss, layout)
    expected = reference(loss, [copy.deepcopy(chunk) for chunk in chunks], torch.float32 if half(layout) else torch.float64)
    result: dict[str, Any] = {"layout": layout, "engine": engine, "loss": name}
    model, criterion = model_of(loss, layout), loss.criterion(ENGINES[engine])
    with told() as messages:
        try:
            errors = []
            for by_call in (True, False) if quick else (True, False, True):
                model.zero_grad()
                step(model, criterion, layout, chunks, by_call=by_call)
                found = [parameter.grad for parameter in model.parameters()]
                errors.append(distance([full(gradient) for gradient in found], expected))
            result["error"] = max(errors)
            result["sharded"] = all(gradient is None or isinstance(gradient, DTensor) for gradient in found)
        except ig.EngineError as error:
            result["refused"] = str(error)
    result["told"] = messages
    return result


def cells(layouts: Sequence[str], *, quick: bool, after: Callable[[], object] = lambda: None) -> list[dict[str, Any]]:
    """All cells of these layouts. quick: as `losses` and `cell` have it."""
    rows = []
    for layout in layouts:
        for engine in ENGINES:
            for name in losses(layout, engine, quick=quick):
                rows.append(cell(layout, engine, name, quick=quick))
                after()
    return rows
