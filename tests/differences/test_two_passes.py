"""The pass that base loss and term share: right over the zoo, two passes in all, and every hook runs once."""

import copy
import gc
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.engines import FiniteDifference
from tests.cases import ROWS, TOGETHER, Case
from tests.differences.counting import OWN_LOSS, Counted, Counting
from tests.textbook import distance
from tests.zoo import FEATURES, OUTPUTS, ZOO

ONE_SIDED = FiniteDifference("one_sided")
TOLERANCE = 1e-5
pytestmark = pytest.mark.filterwarnings("ignore:.*couples the samples")


@pytest.mark.parametrize("rows", [("norm_of_loss",), ("norm_of_loss", "norm_squared", "fgsm"), ("norm_of_entropy",), TOGETHER], ids="+".join)
@pytest.mark.parametrize("name", [specimen.name for specimen in ZOO])
def test_the_whole_zoo_by_one_call(name: str, rows: tuple[str, ...]) -> None:
    specimen = next(specimen for specimen in ZOO if specimen.name == name)
    chosen = tuple(ROWS[row] for row in rows if len(specimen.plain) == 1 or not ROWS[row].one_variable)
    case = Case(specimen, chosen)
    model, inputs, target = specimen.make(), specimen.data(case.size), case.target()
    torch.manual_seed(4)
    step = case.criterion(ONE_SIDED).backward(model, inputs, target)
    expected, found = case.expected(), {key: parameter.grad for key, parameter in model.named_parameters()}
    assert step.loss.item() == pytest.approx(expected.value, rel=1e-12)
    assert {key for key, part in found.items() if part is None} == {key for key, part in expected.gradients.items() if part is None}
    own = distance(expected.terms, dict.fromkeys(expected.terms))
    whole = distance(expected.gradients, dict.fromkeys(expected.gradients))
    assert distance(found, expected.gradients) * max(1, whole / own) <= TOLERANCE


def data(n: int = 7) -> tuple[Tensor, Tensor]:
    return torch.randn(n, FEATURES, dtype=torch.float64), torch.randn(n, OUTPUTS, dtype=torch.float64)


@pytest.mark.parametrize(
    ("engine", "forward", "gradients"),
    [(ONE_SIDED, 2, 2), (FiniteDifference("central"), 3, 3), (FiniteDifference("richardson"), 5, 5), (ig.engines.WeightAsStep(), 2, 1)],
    ids=str,
)
def test_passes_in_all(engine: ig.engines.Engine, forward: int, gradients: int) -> None:
    """Forward passes, and backward passes that reach the parameters."""
    model, (x, y) = Counting().double(), data()
    criterion = ig.InputGradientLoss("mse", 0.1 * OWN_LOSS, engine=engine)
    criterion.backward(model, x, y)  # the first step may try the model once more
    model.calls = Counted.made = 0
    criterion.backward(model, x, y)
    assert (model.calls, Counted.made) == (forward, 2 * gradients)


def test_a_base_loss_that_is_no_mean_is_found_out() -> None:
    """The samples' own losses are one thing, and the number that is trained another: one pass more, and the gradient is right."""

    def odd(output: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
        losses = (output - target).square().mean(1)
        return losses if reduction == "none" else losses.square().mean()

    model, (x, y) = Counting().double(), data()
    found = []
    for engine in ("finite_difference", ONE_SIDED):
        model.zero_grad()
        Counted.made = 0
        ig.InputGradientLoss(odd, 0.1 * OWN_LOSS, engine=engine).backward(model, x, y)
        found.append({key: parameter.grad for key, parameter in model.named_parameters()})
    assert Counted.made == 2 * 2  # that for g reaches the input alone
    assert distance(found[1], found[0]) <= TOLERANCE


def test_gradients_accumulate_and_each_hook_runs_once_on_all_of_them() -> None:
    model, (x, y) = Counting().double(), data()
    criterion = ig.InputGradientLoss("mse", 0.1 * OWN_LOSS, engine=ONE_SIDED)
    criterion.backward(model, x, y)
    once = model.first.grad.clone()
    seen: list[Tensor] = []
    accumulated: list[Tensor] = []
    model.first.register_hook(lambda gradient: seen.append(gradient.clone()) or 2 * gradient)
    model.first.register_post_accumulate_grad_hook(lambda parameter: accumulated.append(parameter.grad.clone()))
    criterion.backward(model, x, y)
    assert len(seen) == len(accumulated) == 1
    torch.testing.assert_close(seen[0], once)
    torch.testing.assert_close(model.first.grad, 3 * once)
    assert x.grad is None
    assert not x.requires_grad


def test_leaves_upstream_of_the_inputs_and_in_the_base_loss() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return self.scale * (output - target).square().mean(1)

    model, (x, y), first = Counting().double(), data(), nn.Linear(FEATURES, FEATURES).double()
    for base in (Scaled(), nn.MSELoss()):
        leaves = [*model.parameters(), *first.parameters(), *base.parameters()]
        found = []
        for engine in ("central", "one_sided"):
            for leaf in leaves:
                leaf.grad = None
            ig.InputGradientLoss(base, 0.1 * OWN_LOSS, engine=FiniteDifference(engine)).backward(model, first(x), y)
            found.append(dict(enumerate(leaf.grad for leaf in leaves)))
        assert None not in found[1].values()
        assert distance(found[1], found[0]) <= TOLERANCE


def test_under_distributed_data_parallel(tmp_path: Any) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        _trained_in_a_replica()
    finally:
        gc.collect()  # the replica, before its group: a reducer that lets go of the group last waits for gloo's thread, which waits for Python's lock
        dist.destroy_process_group()


def _trained_in_a_replica() -> None:
    model, (x, y) = nn.Sequential(nn.Linear(FEATURES, 6), nn.Tanh(), nn.Linear(6, OUTPUTS)).double(), data()
    plain = copy.deepcopy(model)
    parallel = nn.parallel.DistributedDataParallel(model)
    for engine in (ONE_SIDED, ig.engines.WeightAsStep()):
        for _ in range(3):  # the reducer would complain at the next step
            for trained, wrapped in ((plain, plain), (model, parallel)):
                trained.zero_grad()
                ig.InputGradientLoss("mse", 0.1 * OWN_LOSS, engine=engine).backward(wrapped, x, y)
            for a, b in zip(plain.parameters(), model.parameters(), strict=True):
                torch.testing.assert_close(a.grad, b.grad)
