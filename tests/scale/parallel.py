"""What each of four gloo processes runs: tensor parallelism by every style, with shards (2 × 2) and without, and ways of ``fully_shard`` with replicas."""

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, PrepareModuleInput, PrepareModuleOutput, RowwiseParallel, SequenceParallel, parallelize_module

import inputgrad as ig
from inputgrad.recipes.adversarial import fast_adversarial
from tests.scale.cells import Checkpointed, distance, full
from tests.scale.spawn import joined, left

RANKS = 4
WEIGHT = 0.3
ROWS, LENGTH, FEATURES, CLASSES = 4, 4, 5, 3
ENGINES = ("double_backward", "finite_difference", "auto")


class Attention(nn.Module):
    """Several heads (Vaswani et al. 2017), as many as the process holds."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.size = width // heads
        self.queries, self.keys, self.values, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Any:
        rows, length, _ = x.shape
        q, k, v = (layer(x).view(rows, length, -1, self.size).transpose(1, 2) for layer in (self.queries, self.keys, self.values))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, -1))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.attention, self.second = nn.LayerNorm(width), Attention(width, heads), nn.LayerNorm(width)
        self.up, self.activation, self.down = nn.Linear(width, 2 * width), activation(), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Any:
        x = x + self.attention(self.first(x))
        return x + self.down(self.activation(self.up(self.second(x))))


class Transformer(nn.Module):
    def __init__(self, activation: type[nn.Module] = nn.GELU, width: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(FEATURES, width)
        self.blocks = nn.Sequential(*(Block(width, heads, activation) for _ in range(2)))
        self.leave = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.leave(self.blocks(self.enter(x)).mean(1))


def transformer(activation: type[nn.Module] = nn.GELU) -> Transformer:
    torch.manual_seed(0)
    return Transformer(activation).double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(ROWS, LENGTH, FEATURES, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, CLASSES, (ROWS,), generator=generator)


def transcribed(model: nn.Module, x: Tensor, y: Tensor, share: float = 1.0) -> list[Tensor | None]:
    """``share`` · mean cross-entropy and WEIGHT · mean ‖∂ℓ_n/∂x_n‖², by double backward written out."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        x = x.clone().requires_grad_()
        losses = F.cross_entropy(model(x), y, reduction="none")
        (g,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        total = share * losses.mean() + WEIGHT * g.flatten(1).square().sum(1).mean()
        return list(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))


def criterion(engine: Any) -> ig.InputGradientLoss:
    return ig.InputGradientLoss("cross_entropy", WEIGHT * ig.GradientNorm(of="loss", power=2), engine=engine)


def errors(made: Callable[[], nn.Module], chunk: tuple[Tensor, Tensor], expected: list[Tensor | None], engines: tuple[Any, ...] = ENGINES) -> dict[str, Any]:
    """By engine: the largest difference of two steps, by ``criterion(...).backward()`` and ``criterion.backward(...)``; or the refusal."""
    found: dict[str, Any] = {}
    for engine in engines:
        model, loss = made(), criterion(engine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                off = []
                for by_call in (True, False):
                    model.zero_grad()
                    loss(model, *chunk).backward() if by_call else loss.backward(model, *chunk)
                    off.append(distance([full(parameter.grad) for parameter in model.parameters()], expected))
                found[str(engine)] = max(off)
            except ig.EngineError as error:
                found[str(engine)] = str(error)
    return found


def megatron(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Attention and feed-forward by columns, then by rows (Shoeybi et al. 2019)."""
    columns = dict.fromkeys(("attention.queries", "attention.keys", "attention.values", "up"), ColwiseParallel())
    for block in model.blocks:
        parallelize_module(block, mesh, {**columns, "attention.out": RowwiseParallel(), "down": RowwiseParallel()})
    return model


def sequences(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """The same, and everything between is split along the sequence (Korthikanti et al. 2022)."""
    whole: Any = {"input_layouts": (Shard(1),), "desired_input_layouts": (Replicate(),)}
    plan = {
        "first": SequenceParallel(),
        "second": SequenceParallel(),
        "attention": PrepareModuleInput(**whole),
        **dict.fromkeys(("attention.queries", "attention.keys", "attention.values"), ColwiseParallel()),
        "attention.out": RowwiseParallel(output_layouts=Shard(1)),
        "up": ColwiseParallel(input_layouts=Shard(1)),
        "down": RowwiseParallel(output_layouts=Shard(1)),
    }
    for block in model.blocks:
        parallelize_module(block, mesh, plan)
    enter, leave = (
        RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1)),
        PrepareModuleOutput(output_layouts=(Shard(1),), desired_output_layouts=(Replicate(),)),
    )
    parallelize_module(model, mesh, {"enter": enter, "blocks": leave})
    return model


def tensor_parallel() -> dict[str, dict[str, Any]]:
    """All four processes split one model and see one batch."""
    mesh = init_device_mesh("cpu", (RANKS,))
    found = {}
    for name, split in (("megatron", megatron), ("sequences", sequences)):
        for activation in (nn.GELU, nn.ReLU):
            expected = transcribed(transformer(activation), *batch())
            found[f"{name}, {activation.__name__}"] = errors(lambda split=split, a=activation: split(transformer(a), mesh), batch(), expected)
    return found


def an_output_in_parts() -> dict[str, Any]:
    """The model returns a DTensor, and ``output=`` takes the whole of it."""
    mesh, (x, y), found = init_device_mesh("cpu", (RANKS,)), batch(), {}

    def made() -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(FEATURES, 16), nn.SiLU(), nn.Linear(16, CLASSES)).double()

    for engine in ENGINES:
        columns, rows = ColwiseParallel(use_local_output=False), RowwiseParallel(use_local_output=False)
        model = parallelize_module(made(), mesh, {"0": columns, "2": rows})
        term = WEIGHT * ig.GradientNorm(of="loss", power=2)
        ig.InputGradientLoss("cross_entropy", term, engine=engine, output=lambda output: output.full_tensor())(model, x[:, 0], y).backward()
        found[engine] = distance([full(parameter.grad) for parameter in model.parameters()], transcribed(made(), x[:, 0], y))
    return found


def torchs_own() -> dict[str, float]:
    """Double backward by torch alone, through the same split model: what a plain script gets, for its whole loss and for the term alone."""
    mesh, found = init_device_mesh("cpu", (RANKS,)), {}
    for name, share in (("whole", 1.0), ("term", 0.0)):
        expected = transcribed(transformer(), *batch(), share)
        model = megatron(transformer(), mesh)
        found[name] = distance([full(part) for part in transcribed(model, *batch(), share)], expected)
    return found


def mine(index: int, pieces: int) -> tuple[Tensor, Tensor]:
    x, y = batch()
    size = ROWS // pieces
    return x[index * size : (index + 1) * size], y[index * size : (index + 1) * size]


def split_and_sharded() -> dict[str, Any]:
    """Two shares of the batch, each on two processes that split the model."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("shards", "parts"))

    def made() -> nn.Module:
        model = megatron(transformer(), mesh["parts"])
        for block in model.blocks:
            fully_shard(block, mesh=mesh["shards"])
        return fully_shard(model, mesh=mesh["shards"])

    return errors(made, mine(mesh["shards"].get_local_rank(), 2), transcribed(transformer(), *batch()))


def replicas_of_shards() -> dict[str, Any]:
    """Hybrid sharding: two replicas of two shards."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("replicas", "shards"))
    return errors(lambda: nested(mesh), mine(dist.get_rank(), RANKS), transcribed(transformer(), *batch()), (*ENGINES, "reverse_over_forward"))


def nested(mesh: DeviceMesh, **settings: Any) -> nn.Module:
    model = transformer()
    for block in model.blocks:
        fully_shard(block, mesh=mesh, **settings)
    return fully_shard(model, mesh=mesh, **settings)


def a_divisor_of_its_own() -> dict[str, Any]:
    """``set_gradient_divide_factor(1)``: the sum over the processes. A model that was just evaluated holds its root's parameters whole."""
    mesh = init_device_mesh("cpu", (RANKS,))

    def made() -> nn.Module:
        model = nested(mesh)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
        with torch.no_grad():
            model(batch()[0])
        return model

    expected = [None if part is None else RANKS * part for part in transcribed(transformer(), *batch())]
    return errors(made, mine(dist.get_rank(), RANKS), expected)


class Recurrent(nn.Module):
    """An LSTM, which keeps a list of its weights, and two layers that share theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.one, self.other = nn.LSTM(FEATURES, FEATURES, batch_first=True), nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)
        self.other.weight = self.one.weight
        self.leave = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Any:
        return self.leave(torch.tanh(self.other(torch.tanh(self.one(self.cells(x)[0])))).mean(1))


def kept_lists_and_shared_weights() -> dict[str, Any]:
    """Sharded as one unit."""
    mesh = init_device_mesh("cpu", (RANKS,))

    def plain() -> nn.Module:
        torch.manual_seed(0)
        return Recurrent().double()

    return errors(lambda: fully_shard(plain(), mesh=mesh), mine(dist.get_rank(), RANKS), transcribed(plain(), *batch()), ("double_backward",))


def explained() -> dict[str, Any]:
    """`explain` tries every engine, of which one breaks off within a sharded forward pass; and training afterwards."""
    mesh = init_device_mesh("cpu", (RANKS,))
    chunk, model, loss = mine(dist.get_rank(), RANKS), nested(mesh), criterion("auto")
    table = loss.explain(model, *chunk)
    serves = {verdict.engine: verdict.works for verdict in table.verdicts}
    untouched = all(parameter.grad is None for parameter in model.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss(model, *chunk).backward()
    after = distance([full(parameter.grad) for parameter in model.parameters()], transcribed(transformer(), *batch()))
    return {"serves": serves, "taken": table.taken, "untouched": untouched, "after": after}


def accumulated() -> dict[str, float]:
    """Four micro-batches of one sample, the first three without communication as users ask for it."""
    model, loss, (x, y) = nested(init_device_mesh("cpu", (RANKS,))), criterion("double_backward"), batch()
    for n in range(ROWS):
        model.set_requires_gradient_sync(n == ROWS - 1)
        (loss(model, x[n : n + 1], y[n : n + 1]) / ROWS).backward()
    return {"double_backward": distance([full(parameter.grad) for parameter in model.parameters()], transcribed(transformer(), x, y))}


def gathers() -> list[int]:
    """How often a step with an attack, two terms and four passes puts a parameter together, and how many parameters there are."""
    model, chunk = nested(init_device_mesh("cpu", (RANKS,))), mine(dist.get_rank(), RANKS)
    attacked = fast_adversarial(epsilon=0.1)
    loss = ig.InputGradientLoss("cross_entropy", [WEIGHT * ig.GradientNorm(of="loss", power=2), attacked], engine="double_backward")
    loss(model, *chunk).backward()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss(model, *chunk).backward()
    counts = {event.key.removeprefix("c10d::").rstrip("_"): event.count for event in profile.key_averages() if event.key.startswith("c10d::")}
    return [counts["allgather_into_tensor_coalesced"], counts["reduce_scatter_tensor_coalesced"], len(list(model.parameters()))]


FROM_LOCAL = DTensor.from_local
"""A reference that no exchange reaches."""


class Kept(nn.Module):
    """Columns of a weight, entered by that reference."""

    def __init__(self, mesh: DeviceMesh) -> None:
        super().__init__()
        self.mesh = mesh
        self.weight = nn.Parameter(distribute_tensor(torch.ones(FEATURES, 8, dtype=torch.float64), mesh, [Shard(1)]))

    def forward(self, x: Tensor) -> Any:
        return torch.tanh(FROM_LOCAL(x, self.mesh, [Replicate()]) @ self.weight).redistribute(placements=[Replicate()]).to_local()


def a_kept_reference() -> str:
    """Where torch's own entry is called after all, double backward is refused."""
    model = Kept(init_device_mesh("cpu", (RANKS,)))
    try:
        ig.InputGradientLoss(None, [ig.GradientNorm(of="output", power=2)], engine="double_backward")(model, batch()[0][:, 0], None).backward()
    except ig.EngineError as error:
        return str(error)
    return "served"


def offloaded() -> dict[str, Any]:
    """Parameters that lie where the model does not compute."""
    mesh, chunk, expected = init_device_mesh("cpu", (RANKS,)), mine(dist.get_rank(), RANKS), transcribed(transformer(), *batch())
    return errors(lambda: nested(mesh, offload_policy=CPUOffloadPolicy(pin_memory=False)), chunk, expected, ("double_backward", "finite_difference"))


def disagreement() -> dict[str, list[str]]:
    """What is said where the processes that split one model do not see the same."""
    mesh, (x, y) = init_device_mesh("cpu", (RANKS,)), batch()
    drawing = ig.InputGradientLoss("cross_entropy", WEIGHT * ig.GradientNorm(of=ig.heads.RandomProjection(1), power=2))
    ways = {
        "all alike": (drawing, x, y, 0),
        "other inputs": (criterion("auto"), x + dist.get_rank(), y, 0),
        "in another order": (criterion("auto"), x.roll(dist.get_rank(), 0), y, 0),
        "other targets": (criterion("auto"), x, (y + dist.get_rank()) % CLASSES, 0),
        "other draws": (drawing, x, y, dist.get_rank()),
        "other states, nothing drawn": (criterion("auto"), x, y, dist.get_rank()),
    }
    found = {}
    for name, (loss, given, target, number) in ways.items():
        model = megatron(transformer(), mesh)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(2):
                torch.manual_seed(number)
                loss(model, given, target).backward()
        found[name] = [str(warning.message) for warning in caught if "tensor parallelism" in str(warning.message)]
    return found


def smooth() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, 1)).double()


def derivatives_by_hand() -> dict[str, float]:
    """Operators and fields, which differentiate without an engine: of a model that is split, and of one that is sharded."""
    x, mesh, found = batch()[0][:, 0], init_device_mesh("cpu", (RANKS,)), {}
    plain, z = smooth(), x.clone().requires_grad_()
    u = plain(z).sum(1)
    (g,) = torch.autograd.grad(u.sum(), z, create_graph=True)
    second = torch.stack([torch.autograd.grad(g[:, d].sum(), z, create_graph=True)[0][:, d] for d in range(FEATURES)]).sum(0)
    expected = torch.autograd.grad((g[:, 0] + g[:, 1] - u).square().mean() + second.square().mean(), list(plain.parameters()), allow_unused=True)

    def residual(batch_: ig.Batch) -> Tensor:
        field = ig.field(batch_, names="xyzst")
        value = field.d("x") + field.d("y") - field.value.flatten()
        return value.square() + ig.laplacian(batch_).flatten().square()

    for name in ("split", "sharded"):
        model = smooth()
        if name == "split":
            parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
        else:
            fully_shard(model, mesh=mesh)
        ig.InputGradientLoss(None, [ig.term(residual)], engine="auto")(model, x, None).backward()
        found[name] = distance([full(parameter.grad) for parameter in model.parameters()], list(expected))
    return found


def kept_back() -> str:
    """Gradients of a plain micro-batch that wait for the next one, which would be lost."""
    model, chunk = nested(init_device_mesh("cpu", (RANKS,))), mine(dist.get_rank(), RANKS)
    model.set_requires_gradient_sync(False)
    F.cross_entropy(model(chunk[0]), chunk[1]).backward()
    model.set_requires_gradient_sync(True)
    try:
        criterion("double_backward")(model, *chunk).backward()
    except ig.EngineError as error:
        return str(error)
    return "served"


def of_other_lengths() -> dict[str, Any]:
    """Each process pads its texts to another length, at three steps: those that prove an engine do it in step."""

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.leave = nn.Embedding(9, 8), nn.Linear(8, CLASSES)

        def forward(self, words: Tensor) -> Any:
            return self.leave(torch.tanh(self.table(words)).mean(1))

    def made() -> nn.Module:
        torch.manual_seed(0)
        return Words().double()

    mesh, found = init_device_mesh("cpu", (RANKS,)), {}
    for engine in ("auto", "double_backward", "finite_difference"):
        torch.manual_seed(2)
        model = fully_shard(made(), mesh=mesh)
        loss = ig.InputGradientLoss("cross_entropy", WEIGHT * ig.GradientNorm(of="loss", power=2, wrt="module:table"), engine=engine)
        for step in range(3):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss(model, torch.full((1, 3 + dist.get_rank() + step), 1 + dist.get_rank()), torch.tensor([dist.get_rank() % CLASSES])).backward()
        found[engine] = all(parameter.grad is not None for parameter in model.parameters())
    return found


def zero_on_one_process() -> dict[str, Any]:
    """A hinge that is at rest on all processes but the first."""
    mesh, rank = init_device_mesh("cpu", (RANKS,)), dist.get_rank()
    x, _ = batch()

    def hinged(batch_: ig.Batch) -> Tensor:
        return torch.relu(batch_.gradient(of="output").flatten(1).norm(dim=1) - batch_.target.double())

    limits = torch.tensor([0.0, 1e3, 1e3, 1e3], dtype=torch.float64)
    plain, z = transformer(), x.clone().requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        (g,) = torch.autograd.grad(plain(z).sum(), z, create_graph=True)
        expected = torch.autograd.grad(torch.relu(g.flatten(1).norm(dim=1) - limits).mean(), list(plain.parameters()), allow_unused=True)
    found = {}
    for engine in ("double_backward", "finite_difference"):
        model = nested(mesh)
        ig.InputGradientLoss(None, [ig.term(hinged)], engine=engine)(model, x[rank : rank + 1], limits[rank : rank + 1]).backward()
        found[engine] = distance([full(parameter.grad) for parameter in model.parameters()], list(expected))
    return found


def reentrant() -> str:
    model = fully_shard(nn.Sequential(Checkpointed(smooth(), reentrant=True)), mesh=init_device_mesh("cpu", (RANKS,)))
    try:
        criterion("finite_difference")(model, batch()[0][:1, 0], torch.zeros(1, dtype=torch.long)).backward()
    except ig.EngineError as error:
        return str(error)
    return "served"


WAYS: list[Callable[[], Any]] = [
    tensor_parallel,
    an_output_in_parts,
    torchs_own,
    split_and_sharded,
    replicas_of_shards,
    a_divisor_of_its_own,
    kept_lists_and_shared_weights,
    explained,
    accumulated,
    gathers,
    a_kept_reference,
    offloaded,
    disagreement,
    derivatives_by_hand,
    kept_back,
    of_other_lengths,
    zero_on_one_process,
    reentrant,
]


def main(rank: int, ranks: int, folder: str) -> None:
    joined(rank, ranks, folder)
    answers: dict[str, Any] = {}
    for way in WAYS:
        try:
            answers[way.__name__] = way()
        except Exception as error:  # the others wait at the barrier
            answers[way.__name__] = f"raised {type(error).__name__}: {error}"
        dist.barrier()
    left(rank, folder, answers)
