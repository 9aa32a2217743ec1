"""Ways of DDP and FSDP2 that are no layout of the matrix: each a number or a truth about one run on two processes, by its name."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

import inputgrad as ig
from tests.scale.cells import ENGINES, RANKS, Checkpointed, distance, full, sharded, told
from tests.scale.losses import LOSSES, WEIGHT, Chunk, cast, network, part, reference, seed, vectors

NORM = LOSSES["gradient norm"]
EAGER = ("double_backward", "reverse_over_forward", "finite_difference")


def pieces(sizes: tuple[int, ...] = (4, 4)) -> list[Chunk]:
    batch = vectors(sum(sizes))
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    return [part(batch, slice(start, start + size)) for start, size in zip(starts, sizes, strict=True)]


def replica(model: nn.Module | None = None, **settings: Any) -> nn.Module:
    return nn.parallel.DistributedDataParallel(network() if model is None else model, **settings)


def steps(model: nn.Module, criterion: ig.InputGradientLoss, chunks: list[Chunk], expected: list[Tensor | None], count: int = 3) -> float:
    """The largest difference over several steps."""
    errors = []
    for _ in range(count):
        model.zero_grad()
        torch.manual_seed(seed(dist.get_rank()))
        criterion(model, *chunks[dist.get_rank()]).backward()
        errors.append(distance([full(parameter.grad) for parameter in model.parameters()], expected))
    return max(errors)


# DDP


def static_graph() -> dict[str, float]:
    expected = reference(NORM, pieces())
    return {name: steps(replica(static_graph=True), NORM.criterion(ENGINES[name]), pieces(), expected) for name in EAGER}


def static_graph_of_the_gradient_alone() -> dict[str, float]:
    loss = LOSSES["gradient norm alone"]
    expected = reference(loss, pieces())
    return {name: steps(replica(static_graph=True), loss.criterion(ENGINES[name]), pieces(), expected) for name in EAGER}


def find_unused_parameters() -> dict[str, float]:
    """With a layer that the forward pass never calls."""
    found = {}
    for name in (*EAGER, "compiled"):
        for column in ("gradient norm", "gradient norm alone"):
            if name == "compiled" and column != "gradient norm alone":
                continue
            loss = LOSSES[column]
            model = _WithIdle(network())
            found[f"{name}, {column}"] = steps(
                replica(model, find_unused_parameters=True), loss.criterion(ENGINES[name]), pieces(), [*reference(loss, pieces()), None, None]
            )
    return found


class _WithIdle(nn.Module):
    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.idle = layers, nn.Linear(2, 2).double()

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


def a_last_bias_is_averaged() -> dict[str, float]:
    """Ranks whose last bias had other gradients before: what a penalty alone does not reach must be the same everywhere, by a reducer's zero."""
    found = {}
    for name in (*EAGER, "auto"):
        loss, model = LOSSES["gradient norm alone"], replica()
        criterion = loss.criterion(ENGINES[name])
        base = nn.functional.mse_loss
        inputs, target = pieces()[dist.get_rank()]
        for _ in range(2):
            model.zero_grad()
            total = base(model(inputs), target) + criterion(model, inputs, target)
            total.backward()
        plain = network()
        whole = vectors(8)
        expected = list(torch.autograd.grad(base(plain(whole[0]), whole[1]) + loss.plain(plain, *vectors(8), torch.float64), list(plain.parameters())))
        found[name] = distance([parameter.grad for parameter in model.parameters()], expected)
    return found


class Step(nn.Module):
    """A whole training step as a module, which is how Lightning hands it to DDP."""

    def __init__(self, model: nn.Module, criterion: ig.InputGradientLoss, *, at_once: bool = False) -> None:
        super().__init__()
        self.model, self.criterion, self.at_once = model, criterion, at_once

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        if self.at_once:
            return self.criterion.backward(self.model, inputs, target).loss
        loss: Tensor = self.criterion(self.model, inputs, target)
        return loss


def a_whole_step_is_wrapped() -> dict[str, Any]:
    """The criterion inside the replica's forward pass, with a loss that does not reach the last bias; and its backward pass there, which is refused."""
    loss, (inputs, target) = LOSSES["gradient norm alone"], pieces()[dist.get_rank()]
    expected, found = reference(loss, pieces()), {}
    for name in (*EAGER, "auto", "compiled"):
        model = nn.parallel.DistributedDataParallel(Step(network(), loss.criterion(ENGINES[name])))
        errors = []
        for _ in range(4):
            model.zero_grad()
            model(inputs, target).backward()
            errors.append(distance([parameter.grad for parameter in model.parameters()], expected))
        found[name] = max(errors)
    try:
        nn.parallel.DistributedDataParallel(Step(network(), loss.criterion("auto"), at_once=True))(inputs, target)
        return found
    except RuntimeError as error:
        return {**found, "at once": str(error)}


def compiled_steps() -> dict[str, float]:
    """Twelve steps of the compiled engine by its program, on batches that change: each averaged over the processes."""
    calls = _counted_programs()
    model, criterion, errors = replica(), NORM.criterion(ENGINES["compiled"]), []
    for n in range(12):
        chunks = [(x + n, y) for x, y in pieces()]
        model.zero_grad()
        step = criterion if n % 2 else criterion.backward
        made = step(model, *chunks[dist.get_rank()])
        if n % 2:
            made.backward()
        errors.append(distance([parameter.grad for parameter in model.parameters()], reference(NORM, [(x.clone(), y) for x, y in chunks])))
    return {"error": max(errors), "runs of the program": len(calls)}


def _counted_programs() -> list[int]:
    from inputgrad.tracing.compiled_step import CompiledStep

    calls: list[int] = []
    plain = CompiledStep.__call__

    def counted(self: CompiledStep, *arguments: Any, **settings: Any) -> Any:
        calls.append(1)
        return plain(self, *arguments, **settings)

    CompiledStep.__call__ = counted  # type: ignore[method-assign]
    return calls


def a_replica_further_inside() -> list[str]:
    """The compiled engine cannot reach its reducer, and says so; the gradient is the average all the same."""
    model = nn.Sequential(replica())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = steps(model, NORM.criterion(ENGINES["compiled"]), pieces(), reference(NORM, pieces()))
    return [f"{error < 1e-12}", *[str(warning.message) for warning in caught]]


def collectives() -> dict[str, dict[str, int]]:
    """Collectives of the plain step and of each engine's, in the third step: a model with a buffer, one bucket."""
    model = replica(nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Linear(16, 2)).double())
    inputs, target = pieces()[dist.get_rank()]
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("plain", *EAGER, "compiled"):
            criterion = NORM.criterion(ENGINES.get(name, "auto"))

            def by_call(name: str = name, criterion: ig.InputGradientLoss = criterion) -> None:
                loss = nn.functional.mse_loss(model(inputs), target) if name == "plain" else criterion(model, inputs, target)
                loss.backward()

            by_call()
            by_call()
            found[name] = _counted(by_call)
            if name != "plain":
                found[f"{name}, criterion.backward"] = _counted(lambda criterion=criterion: criterion.backward(model, inputs, target))
    return found


def _counted(act: Callable[[], object]) -> dict[str, int]:
    """The collectives that ``act`` starts, by name."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        act()
    return {event.key.removeprefix("c10d::").rstrip("_"): event.count for event in profile.key_averages() if event.key.startswith("c10d::")}


def random_heads() -> dict[str, bool]:
    """Drawn by each process's own generator: apart where the seeds differ, alike where they are the same."""
    drawn = {}
    for name, offset in (("apart", dist.get_rank()), ("alike", 0)):
        torch.manual_seed(offset)
        head = ig.heads.RandomProjection(2).drawn(torch.zeros(4, 8))
        everybody = [torch.zeros_like(head.directions) for _ in range(RANKS)]
        dist.all_gather(everybody, head.directions)
        drawn[name] = torch.equal(everybody[0], everybody[1])
    return drawn


def uneven() -> dict[str, float]:
    """5 samples here and 3 there: weighted by their numbers the sum over all processes is the whole batch's; unweighted it is not."""
    chunks = pieces((5, 3))
    expected = reference(NORM, chunks)
    found = {}
    for name in ("weighted", "unweighted"):
        model = replica()
        inputs, target = chunks[dist.get_rank()]
        factor = len(inputs) * RANKS / 8 if name == "weighted" else 1.0
        (NORM.criterion("auto")(model, inputs, target) * factor).backward()
        found[name] = distance([parameter.grad for parameter in model.parameters()], expected)
    return found


def uneven_numbers_of_batches() -> dict[str, float]:
    """Three batches here and two there, by torch's own ``join``: the weights after them."""
    (x, y), cuts = vectors(20), [slice(4 * n, 4 * n + 4) for n in range(5)]
    found = {}
    for name in (*EAGER, "compiled"):
        model, criterion = replica(), NORM.criterion(ENGINES[name])
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        with model.join():
            for cut in cuts[dist.get_rank() :: RANKS]:
                optimiser.zero_grad()
                criterion(model, x[cut], y[cut]).backward()
                optimiser.step()
        found[name] = distance([p.detach() for p in model.parameters()], _by_hand([cuts[:2], cuts[2:4], cuts[4:]]))
    return found


def _by_hand(steps: list[list[slice]]) -> list[Tensor | None]:
    """The weights after steps of one process, each on these parts of the data; a part that is missing counts as zero."""
    (x, y), model = vectors(20), network()
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for cuts in steps:
        optimiser.zero_grad()
        torch.stack([NORM.plain(model, x[cut], y[cut], torch.float64) for cut in cuts]).sum().div(RANKS).backward()
        optimiser.step()
    return [p.detach() for p in model.parameters()]


def every_third() -> list[int]:
    """The steps at which a term with every=3 is due: counted by the criterion, so the same on every process."""
    criterion = ig.InputGradientLoss("mse", [(WEIGHT * ig.GradientNorm()).scheduled(every=3)])
    model, (inputs, target) = replica(), pieces()[dist.get_rank()]
    due = []
    for n in range(7):
        step = criterion.evaluate(model, inputs, target)
        step.loss.backward()
        due += [n] if "gradient_norm" in step.parts else []
    return due


def a_statistic_of_the_batch() -> list[str]:
    """What is said of a term that does not split into the processes' shares."""
    criterion = ig.InputGradientLoss(None, [_spread])
    model, (inputs, target) = replica(), pieces()[dist.get_rank()]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            criterion(model, inputs, target).backward()
    return [str(warning.message) for warning in caught]


@ig.term(per="batch")
def _spread(batch: ig.Batch) -> Tensor:
    return batch.gradient().flatten(1).norm(dim=1).std()


# FSDP2


def mixed_precision_policy() -> dict[str, dict[str, float]]:
    """bfloat16 parameters, float32 reduction: the error of each engine, and of plain double backward of the same numbers without shards."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    expected = reference(NORM, pieces())
    found: dict[str, dict[str, float]] = {}
    for nested in (False, True):
        row = found["nested" if nested else "root"] = {}
        for name in ("double_backward", "reverse_over_forward", "auto", "finite_difference"):
            model = sharded(network(torch.float32), nested=nested, mp_policy=policy)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                chunk = [cast(chunk, torch.float32) for chunk in pieces()]
                row[name] = steps(model, NORM.criterion(name), chunk, expected)
    return found


def activation_checkpointing() -> dict[str, Any]:
    """Sharded, and checkpointed inside."""
    expected = reference(NORM, pieces())
    found: dict[str, Any] = {}
    for name in ("double_backward", "reverse_over_forward", "finite_difference", "auto"):
        layers = network()
        model = sharded(nn.Sequential(Checkpointed(layers[:2], reentrant=False), Checkpointed(layers[2:], reentrant=False)), nested=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found[name] = steps(model, NORM.criterion(name), pieces(), expected)
            except ig.EngineError as error:
                found[name] = str(error)
    return found


def flat_parameters() -> dict[str, Any]:
    """``FullyShardedDataParallel``, the older way: differences serve, by both ways of going backward; and what is said of the others."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    chunk, found = pieces()[dist.get_rank()], {}
    expected = torch.cat([part.flatten() for part in reference(NORM, pieces()) if part is not None])
    for name in ("finite_difference", "auto", "double_backward", "reverse_over_forward", "compiled"):
        for by_call in (True, False):
            model, criterion = FullyShardedDataParallel(network(), device_id=torch.device("cpu")), NORM.criterion(ENGINES[name])
            with told() as messages:
                try:
                    criterion(model, *chunk).backward() if by_call else criterion.backward(model, *chunk)
                except ig.EngineError as error:
                    found[name] = str(error)
                    continue
            pieces_of: list[Any] = [None] * RANKS
            dist.all_gather_object(pieces_of, torch.cat([part.grad.flatten() for part in model.parameters() if part.grad is not None]))
            error = distance([torch.cat(pieces_of)[: len(expected)]], [expected])
            found[name] = [max(error, *found.get(name, [0.0])[:1]), *messages]
    return found


def clipped() -> dict[str, list[float]]:
    """By layout and engine: how far the norm that is clipped by, and the gradient after it, are from those of one process."""
    whole = [part for part in reference(NORM, pieces()) if part is not None]
    size, chunk, found = torch.stack([part.norm() for part in whole]).norm(), pieces()[dist.get_rank()], {}
    expected = [part * (size / 3) / (size + 1e-6) for part in whole]
    for layout, made in (("DDP", replica), ("FSDP2", lambda: sharded(network(), nested=True))):
        for name in (*EAGER, "compiled"):
            for by_call in (True, False):
                model, criterion = made(), NORM.criterion(ENGINES[name])
                with told():
                    criterion(model, *chunk).backward() if by_call else criterion.backward(model, *chunk)
                total = full(nn.utils.clip_grad_norm_(model.parameters(), float(size) / 3))
                assert total is not None
                off = distance([full(parameter.grad) for parameter in model.parameters()], list(expected))
                found[f"{layout}, {name}, {by_call}"] = [abs(float(total - size)) / float(size), off]
    return found


WAYS: list[Callable[[], Any]] = [
    static_graph,
    static_graph_of_the_gradient_alone,
    find_unused_parameters,
    a_last_bias_is_averaged,
    a_whole_step_is_wrapped,
    compiled_steps,
    a_replica_further_inside,
    collectives,
    random_heads,
    uneven,
    uneven_numbers_of_batches,
    every_third,
    a_statistic_of_the_batch,
    mixed_precision_policy,
    activation_checkpointing,
    flat_parameters,
    clipped,
]


def found() -> dict[str, Any]:
    """All of them, one after the other; what is raised stands in the place of the answer."""
    answers: dict[str, Any] = {}
    for way in WAYS:
        try:
            answers[way.__name__] = way()
        except Exception as error:  # the other process waits at the barrier
            answers[way.__name__] = f"raised {type(error).__name__}: {error}"
        dist.barrier()
    return answers
