"""What each of two gloo processes runs: one wrapper, every engine, both ways, two steps. Results go to a file of each rank, as JSON."""

import copy
import math
import warnings

import torch
import torch.distributed as dist
from torch import Tensor, nn

import inputgrad as ig
from tests.rescue.served import TOLERANCE, WEIGHT, distance
from tests.scale.spawn import joined, left

RANKS = 2
FSDP = ("fsdp_root", "fsdp_nested") if torch.__version__ >= "2.7" else ()
"""Not in torch 2.6: its fully_shard cannot run on the CPU, whose streams have no record_event there."""
WRAPPERS = ("ddp", "ddp_batch_norm", *FSDP)


def build(wrapper: str) -> nn.Module:
    torch.manual_seed(1)
    norm = [nn.BatchNorm1d(16)] if "batch_norm" in wrapper else []
    return nn.Sequential(nn.Linear(6, 16), *norm, nn.SiLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)).double()


def batch(rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5 + rank)
    return torch.randn(4, 6, generator=generator, dtype=torch.float64), torch.randn(4, 2, generator=generator, dtype=torch.float64)


def wrapped(model: nn.Module, wrapper: str) -> nn.Module:
    if wrapper.startswith("ddp"):
        return nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (RANKS,))
    for layer in model if wrapper == "fsdp_nested" else ():
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def expected(wrapper: str, base: str | None, wrt: str) -> list[Tensor | None]:
    """The mean over the ranks' batches, in one process and unwrapped: textbook double backward."""
    found = []
    for rank in range(RANKS):
        model, (x, target) = build(wrapper), batch(rank)
        x = x.requires_grad_()
        variable = x if wrt == "0" else model[0](x)
        output = model(x) if wrt == "0" else model[1:](variable)
        (g,) = torch.autograd.grad(output.sum(), variable, create_graph=True)
        loss = WEIGHT * g.pow(2).sum(1).mean() + (nn.functional.mse_loss(output, target) if base else 0)
        found.append(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True))
    return [None if parts[0] is None else torch.stack(parts).mean(0) for parts in zip(*found, strict=True)]


def step(model: nn.Module, engine: str, base: str | None, wrt: str, *, by_call: bool) -> list[Tensor | None]:
    model.zero_grad()
    variable = int(wrt) if wrt.isdigit() else wrt
    criterion = ig.InputGradientLoss(base, [WEIGHT * ig.GradientNorm(of="output", power=2, wrt=variable)], engine=engine)
    inputs = batch(dist.get_rank())
    if by_call:
        criterion(model, *inputs).backward()
    else:
        criterion.backward(model, *inputs)
    return [parameter.grad for parameter in model.parameters()]


def full(gradient: Tensor | None) -> Tensor | None:
    from torch.distributed.tensor import DTensor

    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


def measured(wrapper: str, engine: str, base: str | None, wrt: str, *, by_call: bool) -> dict[str, object]:
    from torch.distributed.tensor import DTensor

    model = wrapped(build(wrapper), wrapper)
    wanted = expected(wrapper, base, wrt)
    result: dict[str, object] = {"case": [wrapper, engine, base, wrt, by_call]}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            errors = []
            for _ in range(2):
                found = step(model, engine, base, wrt, by_call=by_call)
                errors.append(distance([full(part) for part in found], wanted))
            result["errors"] = errors
            result["sharded"] = all(part is None or isinstance(part, DTensor) for part in found)
        except ig.EngineError as error:
            result["refused"] = str(error)
    result["told"] = [str(warning.message) for warning in caught if "engine=" in str(warning.message)]
    return result


def upstream(wrapper: str) -> str:
    """What two steps of plain double backward say, with a loss of the input gradient alone."""
    model = wrapped(build(wrapper), wrapper)
    try:
        for _ in range(2):
            x = batch(dist.get_rank())[0].requires_grad_()
            (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
            g.pow(2).sum(1).mean().backward()
    except RuntimeError as error:
        return str(error)
    return ""


def error_of_plain_forward_mode(wrapper: str) -> float:
    """How far a gradient by torch.func.jvp and backward(), without the library, is from the mean over the ranks: of ‖g‖² as ⟨g, v⟩ with v = 2g.

    Infinite where torch raises: before 2.13, for units inside the root.
    """
    model, (x, _) = wrapped(build(wrapper), wrapper), batch(dist.get_rank())
    plain = build(wrapper)
    (g,) = torch.autograd.grad(plain(x.requires_grad_()).sum(), x)
    x = x.detach()
    model(x).sum().backward()  # before torch 2.13, the first pass cannot be one of forward mode
    model.zero_grad()
    _, tangent = torch.func.jvp(lambda shift: model(x + shift).sum(), (torch.zeros_like(x),), (WEIGHT * 2 * g / len(x),))
    try:
        tangent.backward()
    except RuntimeError:
        return math.inf
    return distance([full(parameter.grad) for parameter in model.parameters()], expected(wrapper, None, "0"))


def buffers_agree() -> bool:
    """Running statistics move once per step, to the same values as without a wrapper on rank 0's batch."""
    plain, model = build("ddp_batch_norm"), wrapped(build("ddp_batch_norm"), "ddp_batch_norm")
    before = copy.deepcopy(plain)
    for engine in TOLERANCE:
        step(model, engine, "mse", "0", by_call=True)
        plain(batch(dist.get_rank())[0])
        plain.load_state_dict({**plain.state_dict(), **_of_rank_zero(plain)})
    moved = not torch.equal(before[1].running_mean, plain[1].running_mean)
    dist.barrier()
    own = _of_rank_zero(model.module)
    return moved and all(torch.allclose(value, own[name]) for name, value in plain.named_buffers())


def _of_rank_zero(model: nn.Module) -> dict[str, Tensor]:
    values = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for value in values.values():
        dist.broadcast(value, 0)
    return values


def main(rank: int, ranks: int, folder: str) -> None:
    joined(rank, ranks, folder)
    rows = []
    for wrapper in WRAPPERS:
        for engine in (*TOLERANCE, "auto"):
            for base, wrt in ((None, "0"), ("mse", "0"), ("mse", "module:0")):
                rows += [measured(wrapper, engine, base, wrt, by_call=by_call) for by_call in (True, False)]
                dist.barrier()
    plain = {"upstream": {wrapper: upstream(wrapper) for wrapper in WRAPPERS}, "forward_mode": [error_of_plain_forward_mode(wrapper) for wrapper in FSDP]}
    left(rank, folder, {"rows": rows, "buffers": buffers_agree(), **plain})
