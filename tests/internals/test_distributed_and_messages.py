"""Canaries for the private parts of DistributedDataParallel and ``fully_shard``, in a group of one process, and for what torch says in its errors."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import inputgrad as ig
from inputgrad.errors import MissingInternalError
from inputgrad.torch_internals import autograd_graph, ddp, fsdp, messages
from tests.internals.register import canary, missing


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of this one process."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


# replicas


class Looking(nn.Module):
    """A layer that notes which replica is active while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.active: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.active = ddp.active_replica()
        return self.layer(x)


@canary("ddp.active_replica")
def test_the_active_replica_is_known(group: None) -> None:
    model = Looking()
    replica = DistributedDataParallel(model)
    replica(torch.ones(3, 2))
    assert model.active is replica
    assert ddp.active_replica() is None


@canary("ddp.forward_replaced")
def test_another_forward_can_run_inside_a_replica(group: None) -> None:
    model = Looking()
    replica = DistributedDataParallel(model)
    with ddp.forward_replaced(replica, lambda: model.layer.weight.sum() + model.layer.bias.sum()):
        replica(None).backward()
    assert model.active is None
    assert torch.equal(model.layer.weight.grad, torch.ones(1, 2))
    replica(torch.ones(3, 2))
    assert model.active is replica


@canary("ddp.is_first_reduction_open", "ddp.set_first_reduction")
def test_the_first_backward_pass_of_a_static_graph_is_open(group: None) -> None:
    replica = DistributedDataParallel(nn.Linear(2, 1), static_graph=True)
    assert ddp.is_first_reduction_open(replica)
    ddp.set_first_reduction(replica, is_open=False)
    assert not ddp.is_first_reduction_open(replica)
    ddp.set_first_reduction(replica, is_open=True)
    for _ in range(2):
        replica(torch.ones(3, 2)).sum().backward()
        assert not ddp.is_first_reduction_open(replica)
    assert not ddp.is_first_reduction_open(DistributedDataParallel(nn.Linear(2, 1)))


class Reducing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, replica: DistributedDataParallel) -> Tensor:
        ctx.replica = replica
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        ddp.reduce_after_backward(ctx.replica)
        ddp.set_first_reduction(ctx.replica, is_open=False)
        return gy, None


@canary("ddp.reduce_after_backward", "ddp.set_first_reduction")
def test_a_static_graph_is_reduced_without_its_own_output(group: None) -> None:
    """The output's own sign is passed by: the loss is made of the parameters."""
    calls: list[int] = []
    replica = DistributedDataParallel(nn.Linear(2, 1), static_graph=True)
    replica.register_comm_hook(None, lambda _, bucket: _counted(calls, bucket))
    for _ in range(2):
        replica(torch.ones(3, 2))
        loss = torch.stack([parameter.square().sum() for parameter in replica.parameters()]).sum()
        (Reducing.apply(loss, replica) if not calls else loss).backward()
    assert len(calls) == 2


def _counted(calls: list[int], bucket: Any) -> torch.futures.Future[Tensor]:
    calls.append(bucket.buffer().numel())
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(bucket.buffer())
    return done


@missing("ddp.is_first_reduction_open", "ddp.set_first_reduction", "ddp.reduce_after_backward", "ddp.forward_replaced", "ddp.active_replica")
def test_replicas_without_their_private_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    replica: Any = SimpleNamespace(static_graph=True, reducer=object())
    with pytest.raises(MissingInternalError, match="static_graph=False"):
        ddp.is_first_reduction_open(replica)
    with pytest.raises(MissingInternalError, match="static_graph=False"):
        ddp.reduce_after_backward(replica)
    with pytest.raises(MissingInternalError, match="engine='double_backward'"), ddp.forward_replaced(replica, lambda: torch.ones(())):
        pass
    monkeypatch.setattr(ddp, "DistributedDataParallel", object)
    assert ddp.active_replica() is None


# shards


def sharded() -> Any:
    """Two layers that share a weight, sharded in units of their own under a root, in bfloat16."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh, policy = init_device_mesh("cpu", (1,)), MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    model[1][1].weight = model[1][0].weight
    fully_shard(model[0], mesh=mesh, mp_policy=policy)
    return fully_shard(model, mesh=mesh, mp_policy=policy)


@canary("fsdp.state_of", "fsdp.policy_of", "fsdp.groups_of", "fsdp.mesh_of", "fsdp.offload_policy_of", "fsdp.divisor_of", "fsdp.shares_of", "fsdp.sites_of")
def test_how_a_model_is_sharded(group: None) -> None:
    from torch.distributed.fsdp import CPUOffloadPolicy

    model = sharded()
    assert fsdp.state_of(model) is not fsdp.state_of(model[0])
    assert fsdp.policy_of(model).param_dtype is torch.bfloat16
    (of_first,), (of_root,) = fsdp.groups_of(model[0]), fsdp.groups_of(model)
    assert (fsdp.mesh_of(of_root).size(), fsdp.divisor_of(of_root)) == (1, 1)
    assert not isinstance(fsdp.offload_policy_of(of_root), CPUOffloadPolicy)
    assert [id(share) for share in fsdp.shares_of(of_first)] == [id(model[0].weight)]
    assert fsdp.sites_of(of_first) == [(model[0], "weight")]
    first, second = model[1]
    assert set(fsdp.sites_of(of_root)) == {(first, "weight"), (second, "weight"), (first, "bias"), (second, "bias")}


@canary("fsdp.divisor_of", "fsdp.has_reduction_hook")
def test_how_gradients_are_reduced(group: None) -> None:
    model = sharded()
    (of_root,) = fsdp.groups_of(model)
    assert not fsdp.has_reduction_hook(of_root)
    if hasattr(model, "set_gradient_divide_factor"):
        model.set_gradient_divide_factor(3.0)
        assert fsdp.divisor_of(of_root) == 3
    if hasattr(model, "set_all_reduce_hook"):
        model.set_all_reduce_hook(lambda _: None)
        assert fsdp.has_reduction_hook(of_root)


@canary("fsdp.hooks_on_forward", "fsdp.methods_with_hooks")
def test_the_hooks_of_a_sharded_model(group: None) -> None:
    from torch.distributed.fsdp import register_fsdp_forward_method

    model = sharded()
    model.register_forward_hook(lambda *_: None)
    assert sorted(is_before for *_, is_before in fsdp.hooks_on_forward(model)) == [False, True]
    assert list(fsdp.methods_with_hooks(model)) == []
    own = model.extra_repr
    register_fsdp_forward_method(model, "extra_repr")
    ((entries, name, before),) = fsdp.methods_with_hooks(model)
    assert (entries[name] == model.extra_repr, name, before()) == (True, "extra_repr", own())


@canary("fsdp.holds_gradients", "fsdp.is_root")
@pytest.mark.skipif(torch.__version__ < "2.7", reason="fully_shard of torch 2.6 cannot run on the CPU: its streams have no record_event there")
def test_gradients_kept_back_are_seen(group: None) -> None:
    model = sharded()
    (of_root,) = fsdp.groups_of(model)
    assert not fsdp.is_root(model), "before its first pass"
    model.set_requires_gradient_sync(False)
    assert not fsdp.holds_gradients(of_root)
    model(torch.ones(3, 2)).float().sum().backward()
    assert fsdp.holds_gradients(of_root)
    assert fsdp.is_root(model)
    assert not fsdp.is_root(model[0])


@canary("fsdp.works_under_transforms")
def test_gradients_of_forward_mode_are_averaged_from_torch_2_13_on() -> None:
    """What is looked up came in that release. That the averages are right from then on is for several processes to show: ``tests/rescue``."""
    assert fsdp.works_under_transforms() == (torch.__version__ >= "2.13")


@missing("fsdp.works_under_transforms")
@pytest.mark.skipif(torch.__version__ < "2.7", reason="fully_shard of torch 2.6 cannot run on the CPU: its streams have no record_event there")
def test_where_they_are_not_auto_takes_double_backward(group: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.fsdp import fully_shard

    monkeypatch.setattr(fsdp, "importlib", SimpleNamespace(import_module=lambda _: object()))
    model = fully_shard(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)))
    term, x = ig.GradientNorm(of="output", power=2), torch.ones(3, 2)
    with pytest.raises(ig.EngineError, match=r"before torch 2.13, fully_shard does not average .*engine='double_backward' is exact"):
        ig.InputGradientLoss(None, term, engine="reverse_over_forward")(model, x, None)
    with pytest.warns(UserWarning, match=r"sharded by fully_shard, and engine='auto' takes 'double_backward' \(exact\)"):
        ig.InputGradientLoss(None, term)(model, x, None).backward()
    ig.InputGradientLoss(None, term)(model, x, None).backward()  # a second warning would be an error
    assert all(parameter.grad is not None for parameter in model[0].parameters())


SHARDED = ("state_of", "is_root", "policy_of", "groups_of", "mesh_of", "offload_policy_of", "divisor_of", "shares_of", "sites_of", "holds_gradients")


@missing(*(f"fsdp.{name}" for name in SHARDED))
@pytest.mark.parametrize("name", SHARDED)
@pytest.mark.parametrize("of", [object(), SimpleNamespace(_get_fsdp_state=object), SimpleNamespace(fsdp_params=[object()])], ids=["unit", "state", "group"])
def test_shards_of_another_make_give_one_error(name: str, of: Any) -> None:
    if name == "state_of" and hasattr(of, "_get_fsdp_state"):
        of = object()
    with pytest.raises(MissingInternalError, match="engine='reverse_over_forward' leaves it as it is"):
        getattr(fsdp, name)(of)


@missing("fsdp.groups_of", "fsdp.divisor_of", "fsdp.has_reduction_hook")
def test_shards_of_earlier_releases() -> None:
    mesh = SimpleNamespace(size=lambda: 4)
    group: Any = SimpleNamespace(mesh_info=SimpleNamespace(mesh=mesh), reduce_scatter_reduce_op=None)
    unit = SimpleNamespace(_get_fsdp_state=lambda: SimpleNamespace(_fsdp_param_group=group))
    assert fsdp.groups_of(unit) == [group]
    assert fsdp.divisor_of(group) == 4
    assert not fsdp.has_reduction_hook(group)
    group.reduce_scatter_reduce_op = "another factor"
    with pytest.raises(MissingInternalError, match="reverse_over_forward"):
        fsdp.divisor_of(group)


@canary("autograd_graph.is_from_local")
def test_the_node_of_from_local(group: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate

    made = DTensor.from_local(torch.ones(2, requires_grad=True), init_device_mesh("cpu", (1,)), [Replicate()])
    assert any(map(autograd_graph.is_from_local, autograd_graph.nodes_of([made])))


# messages


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        return gy * 2


class Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        return gy * 2


def second(function: Any, x: Tensor) -> None:
    """The second derivative, by a seed that requires grad."""
    seed = torch.ones((), requires_grad=True)
    (gradient,) = torch.autograd.grad(function(x).sum(), x, seed, create_graph=True)
    gradient.sum().backward()


def second_without_seed(function: Any, x: Tensor) -> None:
    (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    gradient.sum().backward()


def forward_mode(function: Any, x: Tensor) -> None:
    torch.func.jvp(function, (x.detach(),), (torch.ones_like(x),))


def attention(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x, x, x)


def first(function: Any, x: Tensor) -> None:
    torch.autograd.grad(function(x).sum(), x)


SITUATIONS: dict[str, tuple[Any, Any, str, str | None]] = {
    "fused attention": (second, attention, "scaled_dot_product", "sdpa_kernel"),
    "once_differentiable": (second, Once.apply, "once_differentiable", "without @once_differentiable"),
    "re-entrant checkpoint": (first, lambda x: checkpoint(torch.exp, x, use_reentrant=True), "re-entrant checkpointing", "use_reentrant=False"),
    "compiled": (second_without_seed, torch.compile(lambda x: x**3, backend="aot_eager"), "torch.compile", "as it was before torch.compile"),
    "custom function in forward mode": (forward_mode, Plain.apply, "without setup_context and jvp", None),
    "requires_grad_ in forward mode": (forward_mode, lambda x: (x * 1).detach().requires_grad_(), "Tensor.requires_grad_()", None),
}


@canary("messages.obstacle", "messages.way_to_further_derivatives", "messages.Message")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_torch_says_is_recognised(situation: str) -> None:
    run, function, obstacle, way = SITUATIONS[situation]
    x = torch.randn(1, 2, 4, 8, requires_grad=True)
    with pytest.raises(RuntimeError) as caught:
        run(function, x)
    assert obstacle in messages.obstacle(caught.value)
    found = messages.way_to_further_derivatives(caught.value)
    assert (found is None) if way is None else (found is not None and way in found)
    assert messages.CHECKPOINT.is_in(caught.value) == ("checkpoint" in situation)
    if situation in ("fused attention", "compiled"):
        assert messages.NO_SECOND_DERIVATIVE.is_in(caught.value)


@canary("messages.obstacle")
def test_a_message_in_other_words_is_passed_on() -> None:
    assert messages.obstacle("something else") == "an operation has no such derivative here"
    assert messages.way_to_further_derivatives("something else") is None
    assert "once_differentiable" in messages.obstacle(messages.ONCE_DIFFERENTIABLE)


def too_much() -> Tensor:
    return torch.empty(2**60)


def of_a_device() -> None:
    raise torch.OutOfMemoryError("as torch's allocators raise it")


def of_a_library() -> None:
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@canary("messages.is_out_of_memory")
@pytest.mark.parametrize("run", [too_much, of_a_device, of_a_library, lambda: bytearray(2**60)], ids=["CPU", "device", "library", "Python"])
def test_memory_that_ran_out_is_told(run: Any) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        run()
    assert messages.is_out_of_memory(caught.value)
    assert messages.is_machine_error(caught.value)


@canary("messages.is_out_of_memory")
@pytest.mark.parametrize("run", [lambda: torch.ones(2) @ torch.ones(3), lambda: second(attention, torch.ones(1, 2, 4, 8, requires_grad=True))])
def test_other_errors_are_not_taken_for_it(run: Any) -> None:
    with pytest.raises(RuntimeError) as caught:
        run()
    assert not messages.is_out_of_memory(caught.value)
    assert not messages.is_out_of_memory(ValueError("out of memory"))
    assert not messages.is_machine_error(caught.value)


@canary("messages.is_device_error")
def test_the_error_of_a_device_has_a_class() -> None:
    """Missing before torch 2.8, where the text tells."""
    kind = getattr(torch, "AcceleratorError", RuntimeError)
    assert issubclass(kind, RuntimeError)
    assert messages.is_device_error(kind("CUDA error: device-side assert triggered"))


@canary("messages.is_machine_error")
def test_what_was_raised_from_such_an_error_is_one() -> None:
    error = ValueError("by the user")
    error.__cause__ = torch.OutOfMemoryError("as torch's allocators raise it")
    assert messages.is_machine_error(error)
    assert not messages.is_machine_error(ValueError("by the user"))
