"""Canaries for what modules and tensors keep in private, unnamed kernels, nested containers, the compiler and the tracer."""

import copy
import subprocess
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from inputgrad.errors import MissingInternalError
from inputgrad.torch_internals import autocast, compiler, kernels, losses, modules, pytree, tensors, tracing
from tests.internals.register import canary, missing

# modules


@canary("modules.forward_hooks", "modules.forward_pre_hooks")
def test_a_hook_can_be_exchanged_in_its_dict() -> None:
    layer, heard = nn.Identity(), []
    layer.register_forward_pre_hook(lambda *_: heard.append("before"), with_kwargs=True)
    layer.register_forward_hook(lambda *_: heard.append("after"))
    (before,), (after,) = modules.forward_pre_hooks(layer), modules.forward_hooks(layer)
    layer(torch.ones(2))
    modules.forward_pre_hooks(layer)[before] = lambda *_: heard.append("other before")
    modules.forward_hooks(layer)[after] = lambda *_: heard.append("other after")
    layer(torch.ones(2))
    assert heard == ["before", "after", "other before", "other after"]


@canary("modules.backward_hooks")
def test_hooks_of_the_backward_pass_are_counted() -> None:
    layer, heard = nn.Linear(2, 2), []
    assert modules.backward_hooks(layer) == 0
    handles = [layer.register_full_backward_pre_hook(lambda *_: heard.append("before")), layer.register_full_backward_hook(lambda *_: heard.append("after"))]
    layer(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert heard == ["before", "after"]
    for left in (1, 0):
        handles.pop().remove()
        assert modules.backward_hooks(layer) == left


CHANGES: dict[str, Callable[[nn.Sequential], object]] = {
    "another kind": lambda model: setattr(model, "__class__", type("Other", (nn.Sequential,), {})),
    "mode": lambda model: model.eval(),
    "forward hook": lambda model: model.register_forward_hook(lambda *_: None),
    "hook before forward": lambda model: model.register_forward_pre_hook(lambda *_: None),
    "backward hook": lambda model: model.register_full_backward_hook(lambda *_: None),
    "hook before backward": lambda model: model.register_full_backward_pre_hook(lambda *_: None),
    "forward of its own": lambda model: setattr(model, "forward", lambda x: x),
    "compiled": lambda model: model.compile(),
    "part exchanged": lambda model: model.__setitem__(0, nn.Linear(2, 2)),
    "part added": lambda model: model.append(nn.Linear(2, 2)),
    "parameter added": lambda model: model.register_parameter("more", nn.Parameter(torch.ones(1))),
}


@canary("modules.module_forms")
@pytest.mark.parametrize("change", ["another kind", "mode", "forward hook", "hook before forward", "backward hook", "hook before backward", "part added"])
def test_the_form_of_a_model_is_another_after_a_change(change: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    before = modules.module_forms(model)
    assert modules.module_forms(model) == before
    CHANGES[change](model)
    assert modules.module_forms(model) != before


@canary("modules.running_facts", "modules.run_alike")
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_how_a_module_runs_is_seen(change: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    facts = list(map(modules.running_facts, model.modules()))
    assert modules.run_alike(facts)
    CHANGES[change](model)
    assert not modules.run_alike(facts)


@canary("modules.switches", "modules.is_torchs")
def test_what_a_users_module_switches_is_seen() -> None:
    class Switched(nn.Linear):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.gain, self.checkpointed = 1, False

    module = Switched()
    before = modules.switches(module)
    module.gain = 2
    assert modules.switches(module) == before
    module.checkpointed = True
    assert modules.switches(module) != before
    assert (modules.is_torchs(nn.Linear(2, 2)), modules.is_torchs(module)) == (True, False)


@canary("modules.running_facts")
def test_which_parameters_learn_is_seen() -> None:
    layer = nn.Linear(2, 2)
    facts = [modules.running_facts(layer)]
    layer.bias.requires_grad_(False)
    assert not modules.run_alike(facts)


@canary("modules.run_alike")
@pytest.mark.parametrize("back", ["hook taken off", "part taken off", "parameter taken off", "own forward taken off", "module gone"])
def test_that_something_is_taken_off_is_seen(back: str) -> None:
    layer = nn.Sequential(nn.Linear(2, 2))
    handle = layer.register_forward_hook(lambda *_: None)
    layer.register_parameter("scale", nn.Parameter(torch.ones(1)))
    layer.forward = layer[0].forward  # type: ignore[method-assign]  # what is tried
    facts = [modules.running_facts(layer)]
    assert modules.run_alike(facts)
    taken_off = {
        "hook taken off": handle.remove,
        "part taken off": lambda: layer.__delitem__(0),
        "parameter taken off": lambda: delattr(layer, "scale"),
        "own forward taken off": lambda: delattr(layer, "forward"),
    }
    if back in taken_off:
        taken_off[back]()
    else:
        del layer, handle, taken_off
    assert not modules.run_alike(facts)


@canary("modules.runs_its_class_alone")
@pytest.mark.parametrize("change", ["nothing", *(name for name in CHANGES if "hook" in name), "forward of its own", "hook of all modules"])
def test_whether_a_call_runs_the_class_alone(change: str) -> None:
    layer, handle = nn.Linear(2, 2), None
    if change == "forward of its own":
        layer.forward = torch.sin  # type: ignore[method-assign]  # what is tried
    elif change == "hook of all modules":
        handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    elif change != "nothing":
        CHANGES[change](layer)  # type: ignore[arg-type]  # any module takes hooks
    try:
        assert modules.runs_its_class_alone(layer) == (change == "nothing")
    finally:
        if handle is not None:
            handle.remove()


@missing("modules.runs_its_class_alone")
def test_a_module_that_keeps_its_hooks_elsewhere_does_not_run_its_class_alone() -> None:
    assert not modules.runs_its_class_alone(SimpleNamespace())  # type: ignore[arg-type]  # stands for it


@canary("losses.mean_by_kernel")
@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss()])
def test_a_loss_by_its_kernel_is_the_loss(loss: nn.Module) -> None:
    output, target = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, dtype=torch.float64)
    for y in (target, target.float(), target.half()):
        found, wanted = losses.mean_by_kernel(loss, output, y), loss(output, y)
        assert found is not None
        assert (found.dtype, found.item()) == (wanted.dtype, wanted.item())
        assert gradient_or_refusal(found, output) == gradient_or_refusal(wanted, output)


def gradient_or_refusal(loss: Tensor, output: Tensor) -> Any:
    """The gradient as a list, or what torch says instead: torch 2.6 refuses labels of another type in the backward pass."""
    try:
        return torch.autograd.grad(loss, output)[0].tolist()
    except RuntimeError as error:
        return str(error)


@missing("losses.mean_by_kernel")
def test_other_losses_and_tensors_have_no_kernel_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.ones(4, 1)
    for loss in (nn.MSELoss(reduction="sum"), nn.HuberLoss(), nn.functional.mse_loss, None):
        assert losses.mean_by_kernel(loss, x, x) is None
    for output, target in ((x, x[:, 0]), (x, None), (nn.Parameter(x), x), ((x,), (x,))):
        assert losses.mean_by_kernel(nn.MSELoss(), output, target) is None
    with FunctionMode():
        assert losses.mean_by_kernel(nn.MSELoss(), x, x) is None
    monkeypatch.delattr(torch._C._nn, "mse_loss")
    assert losses.mean_by_kernel(nn.MSELoss(), x, x) is None


@canary("losses.sum_of_squared_errors")
@missing("losses.sum_of_squared_errors")
def test_a_sum_of_squared_errors_is_that_of_torchs_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    wanted = nn.MSELoss(reduction="sum")(a, b)

    def check() -> None:
        found = losses.sum_of_squared_errors(a, b)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad(found, a)[0], 2 * (a - b))

    check()
    with FunctionMode():
        check()
    monkeypatch.delattr(torch._C._nn, "mse_loss")
    check()


class FunctionMode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


@canary("modules.held")
@missing("modules.held")
def test_what_a_module_holds_under_a_name_is_found() -> None:
    layer = nn.Sequential(nn.Linear(2, 1))
    layer.number = 3  # type: ignore[assignment]  # a plain value
    assert (modules.held(layer, "0"), modules.held(layer, "number"), modules.held(layer, "nothing")) == (layer[0], 3, None)
    assert modules.held(SimpleNamespace(base=3), "base") == 3  # type: ignore[arg-type]  # a module that keeps its parts elsewhere


@canary("modules.own_parameters", "modules.own_buffers")
def test_another_tensor_can_take_the_place_of_a_parameter_and_of_a_buffer() -> None:
    layer = nn.BatchNorm1d(2).eval()
    modules.own_parameters(layer)["weight"] = torch.full((2,), 3.0)
    modules.own_buffers(layer)["running_mean"] = torch.ones(2)
    torch.testing.assert_close(layer(torch.full((1, 2), 2.0)), torch.full((1, 2), 3.0), atol=1e-4, rtol=0)


@canary("modules.refresh_weight_list")
def test_a_recurrent_layer_reads_other_weights_and_lets_go_of_them() -> None:
    layer, x = nn.LSTM(2, 3), torch.randn(4, 1, 2)
    before, other = modules.own_parameters(layer)["weight_ih_l0"], torch.zeros(12, 2)
    modules.own_parameters(layer)["weight_ih_l0"] = other
    with torch.no_grad():  # a graph would hold it too
        output, held = layer(x)[0], weakref.ref(other)
        assert torch.equal(output, layer(torch.zeros_like(x))[0])
    modules.own_parameters(layer)["weight_ih_l0"] = before
    del other
    assert held() is not None, "the list holds it until the next pass"
    modules.refresh_weight_list(layer)
    assert held() is None


@missing("modules.refresh_weight_list")
def test_a_recurrent_layer_without_a_list_has_nothing_to_let_go_of() -> None:
    modules.refresh_weight_list(object())


FIELDS = ["forward_hooks", "forward_pre_hooks", "backward_hooks", "running_facts", "module_forms", "own_parameters", "own_buffers"]


@missing(*(f"modules.{name}" for name in FIELDS))
@pytest.mark.parametrize("name", FIELDS)
def test_a_module_without_the_field_gives_one_error(name: str) -> None:
    with pytest.raises(MissingInternalError, match=r"private part of torch that inputgrad uses: .* does not work"):
        getattr(modules, name)(SimpleNamespace())


NORMS = (nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2))
OTHER_NORMS = (nn.InstanceNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2))


@canary("modules.is_batch_norm")
def test_batch_normalisations() -> None:
    class Own(nn.modules.batchnorm._BatchNorm):
        pass

    assert all(map(modules.is_batch_norm, (*NORMS, Own(2), nn.LazyBatchNorm2d())))
    assert not any(map(modules.is_batch_norm, OTHER_NORMS))


@missing("modules.is_batch_norm")
def test_batch_normalisations_by_their_public_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.modules.batchnorm, "_BatchNorm", None)
    assert all(map(modules.is_batch_norm, NORMS))
    assert not any(map(modules.is_batch_norm, OTHER_NORMS))


@canary("modules.is_dropout", "modules.is_loss")
def test_dropouts_and_losses() -> None:
    kinds = [kind for kind in vars(nn).values() if isinstance(kind, type) and issubclass(kind, nn.Module)]
    dropouts = [kind for kind in kinds if "Dropout" in kind.__name__]
    assert len(dropouts) >= 6
    assert all(modules.is_dropout(kind()) and isinstance(kind().p, float) for kind in dropouts)
    losses = [kind for kind in kinds if kind.__name__.endswith("Loss") and kind is not nn.AdaptiveLogSoftmaxWithLoss]
    assert len(losses) >= 20
    assert all(map(modules.is_loss, (kind.__new__(kind) for kind in losses)))
    assert not any(modules.is_dropout(other) or modules.is_loss(other) for other in (nn.Linear(2, 2), nn.ReLU()))
    assert not modules.is_loss(F.mse_loss)


@missing("modules.is_dropout", "modules.is_loss")
def test_kinds_that_have_moved_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.modules.dropout._DropoutNd, "__module__", "elsewhere")
    monkeypatch.setattr(nn.Dropout, "__module__", "elsewhere")
    assert not modules.is_dropout(nn.Dropout())
    for kind in nn.MSELoss.__mro__[:2]:
        monkeypatch.setattr(kind, "__module__", "elsewhere")
    assert not modules.is_loss(nn.MSELoss())


# tensors


@canary("tensors.is_at_hand")
def test_numbers_on_the_cpu_are_at_hand() -> None:
    assert tensors.is_at_hand(torch.ones(()))
    assert not tensors.is_at_hand(torch.ones((), device="meta"))


@canary("tensors.scaled", "tensors.largest_magnitudes", "tensors.stored_values")
def test_several_tensors_at_once() -> None:
    given = [torch.tensor([1.0, -3.0]), torch.tensor([[2.0]]), torch.tensor([float("nan"), 1.0])]
    assert [part.tolist() for part in tensors.scaled(given[:2], 2.0)] == [[2, -6], [[4]]]
    first, second, third = tensors.largest_magnitudes(given)
    assert (first.item(), second.item(), third.isnan().item()) == (3, 2, True)
    assert list(tensors.scaled([], 2.0)) == list(tensors.largest_magnitudes([])) == []
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 0]]), torch.tensor([1.0, 2.0]), (3,), check_invariants=True)
    assert tensors.stored_values(sparse).tolist() == [1, 2]


@missing("tensors.scaled", "tensors.largest_magnitudes", "tensors.stored_values")
def test_the_same_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "torch", SimpleNamespace(linalg=torch.linalg))
    assert [part.tolist() for part in tensors.scaled([torch.ones(1), torch.ones(1, 1)], 2.0)] == [[2], [[2]]]
    assert [part.item() for part in tensors.largest_magnitudes([torch.tensor([1.0, -3.0])])] == [3]
    other: Any = SimpleNamespace(coalesce=lambda: SimpleNamespace(values=lambda: "values"))
    assert tensors.stored_values(other) == "values"


@canary("tensors.without_storage")
def test_a_tensor_without_storage_cannot_be_computed_with_unseen() -> None:
    class Seen(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl

        @classmethod
        def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise LookupError(str(func))

    made = tensors.without_storage(Seen, torch.ones(2, 3))
    assert (type(made), made.shape, made.requires_grad) == (Seen, (2, 3), True)
    with pytest.raises(LookupError, match=r"aten\.tanh"):
        torch.tanh(made)


@missing("tensors.without_storage")
def test_without_tensors_without_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "Tensor", object)
    with pytest.raises(MissingInternalError, match="_make_wrapper_subclass"):
        tensors.without_storage(torch.Tensor, torch.ones(2))


@canary("tensors.times_written")
def test_writing_in_place_is_counted() -> None:
    x = torch.ones(2)
    before = tensors.times_written(x)
    x.mul_(2)[0].add_(1)
    assert tensors.times_written(x) == before + 2
    x.exp()
    assert tensors.times_written(x) == before + 2


@missing("tensors.times_written")
def test_without_a_count_there_is_one_error() -> None:
    other: Any = object()
    with pytest.raises(MissingInternalError, match="_version"):
        tensors.times_written(other)


# containers


class Pair(NamedTuple):
    first: Any
    second: Any


@canary("pytree.flatten", "pytree.unflatten", "pytree.leaves", "pytree.map_only")
def test_containers_are_taken_apart_and_put_together() -> None:
    x, y = torch.zeros(1), torch.ones(1)
    tree = {"a": [x, 2], "b": Pair(y, (None, "text"))}
    leaves, structure = pytree.flatten(tree)
    assert [leaf for leaf in leaves if not isinstance(leaf, Tensor) and leaf is not None] == [2, "text"]
    assert pytree.unflatten(leaves, structure) == tree
    assert structure == pytree.flatten({"a": [y, 3], "b": Pair(x, (None, "other"))})[1]
    assert str(structure) != str(pytree.flatten((x, 2))[1])
    assert [leaf is other for leaf, other in zip(pytree.leaves(tree), leaves, strict=True)].count(False) == 0
    doubled = pytree.map_only(Tensor, lambda tensor: tensor + 1, tree)
    assert (doubled["a"][0].item(), doubled["a"][1], type(doubled["b"])) == (1, 2, Pair)


@missing("pytree.flatten", "pytree.unflatten", "pytree.leaves", "pytree.map_only")
@pytest.mark.parametrize(
    "call", [lambda: pytree.flatten([]), lambda: pytree.unflatten([], None), lambda: pytree.leaves([]), lambda: pytree.map_only(int, abs, 1)]
)
def test_without_containers_there_is_one_error(monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils._pytree", SimpleNamespace())
    with pytest.raises(MissingInternalError, match="_pytree"):
        call()


# kernels


@canary("kernels.has_flash_attention_for_cpu", "kernels.flash_attention_for_cpu", "kernels.flash_attention_for_cpu_backward")
@pytest.mark.parametrize("causal", [True, False])
def test_fused_attention_of_the_cpu(causal: bool) -> None:
    assert kernels.has_flash_attention_for_cpu()
    q, k, v = (torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = None if causal else torch.randn(5, 5, dtype=torch.float64)
    with sdpa_kernel(SDPBackend.MATH):
        expected = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=0.3)
    go = torch.randn_like(expected)
    output, sums = kernels.flash_attention_for_cpu(q.detach(), k.detach(), v.detach(), causal, mask, 0.3)
    torch.testing.assert_close(output, expected)
    gradients = kernels.flash_attention_for_cpu_backward(go, q.detach(), k.detach(), v.detach(), output, sums, causal, mask, 0.3)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected, (q, k, v), go))


@canary("kernels.safe_softmax")
def test_a_row_in_which_nothing_takes_part_is_zero() -> None:
    scores = torch.tensor([[1.0, 2.0], [-torch.inf, 0.0], [-torch.inf, -torch.inf]])
    expected = torch.stack([torch.softmax(scores[0], -1), torch.tensor([0.0, 1.0]), torch.zeros(2)])
    torch.testing.assert_close(kernels.safe_softmax(scores), expected)


@canary("kernels.suggested_memory_format")
def test_the_memory_format_that_kernels_give() -> None:
    x = torch.randn(2, 3, 4, 4)
    last = x.to(memory_format=torch.channels_last)
    for given in (x, last, x.transpose(2, 3), torch.randn(2, 3, 4), torch.randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d)):
        assert F.group_norm(given, 1).is_contiguous(memory_format=kernels.suggested_memory_format(given))
    assert kernels.suggested_memory_format(last[..., ::2]) == torch.channels_last


@missing("kernels.suggested_memory_format")
def test_without_suggested_memory_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._prims_common", None)
    x = torch.randn(2, 3, 4, 4)
    assert kernels.suggested_memory_format(x) == torch.contiguous_format
    assert kernels.suggested_memory_format(x.to(memory_format=torch.channels_last)) == torch.channels_last


@missing(
    "kernels.safe_softmax",
    "kernels.is_fused_attention",
    "kernels.has_flash_attention_for_cpu",
    "kernels.flash_attention_for_cpu",
    "kernels.flash_attention_for_cpu_backward",
)
def test_without_unnamed_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """`derivatives.attention` then runs as on other devices."""
    monkeypatch.setattr(kernels, "aten", object())
    assert not kernels.has_flash_attention_for_cpu()
    assert not kernels.is_fused_attention("aten::attention_by_another_name")
    test_a_row_in_which_nothing_takes_part_is_zero()


@canary("kernels.is_fused_attention", "tracing.trace", "tracing.operation_name")
def test_fused_attention_in_a_graph() -> None:
    q = torch.randn(1, 2, 3, 4)
    graph = tracing.trace(lambda q: F.scaled_dot_product_attention(q, q, q) + 1, q)
    names = [tracing.operation_name(node.target) for node in graph.graph.nodes if node.op == "call_function" and "getitem" not in node.name]
    assert [kernels.is_fused_attention(name) for name in names] == [True, False]


# tracing


@canary("tracing.is_tracing", "tracing.trace")
def test_a_trace_runs_again_and_is_seen_while_it_is_made() -> None:
    told = []

    def function(x: Tensor) -> Tensor:
        told.append(tracing.is_tracing())
        return x.exp() * 2

    graph = tracing.trace(function, torch.zeros(2))
    function(torch.zeros(2))
    assert told == [True, False]
    torch.testing.assert_close(graph(torch.ones(2)), torch.ones(2).exp() * 2)


@missing("tracing.is_tracing", "tracing.trace")
def test_without_the_tracer_nothing_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.fx.experimental import proxy_tensor

    monkeypatch.delattr(proxy_tensor, "get_proxy_mode")
    assert not tracing.is_tracing()
    with pytest.raises(MissingInternalError, match=r"make_fx and get_proxy_mode.*engine 'compiled'.*engine='double_backward'"):
        tracing.trace(torch.exp, torch.zeros(2))


@canary("tracing.is_watched", "tracing.watchers", "tracing.without_dispatch_modes")
def test_dispatch_modes_are_seen_and_set_aside() -> None:
    told = []

    class Mode(tracing.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            told.append(func)
            assert tracing.watchers() == 0
            return func(*args, **(kwargs or {}))

    x = torch.ones(2)
    with Mode():
        assert tracing.is_watched()
        assert tracing.watchers() == 1
        with tracing.without_dispatch_modes():
            assert not tracing.is_watched()
            x.exp()
        assert told == []
        x.exp()
    assert len(told) == 1
    assert not tracing.is_watched()


@missing("tracing.is_watched", "tracing.watchers", "tracing.without_dispatch_modes")
def test_where_modes_cannot_be_told_there_may_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_len_torch_dispatch_stack")
    monkeypatch.delattr(torch.utils._python_dispatch, "_disable_current_modes")
    assert tracing.is_watched()
    assert tracing.watchers() == 0
    with tracing.without_dispatch_modes():
        pass


@canary("tracing.is_only_autograd")
@missing("tracing.is_only_autograd")
@pytest.mark.parametrize("missing", [[], ["_is_any_autocast_enabled"], ["_len_torch_dispatch_stack"]])
def test_what_is_at_work_beside_autograd_is_seen(missing: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in missing:
        monkeypatch.delattr(torch._C, name)
    found: list[bool] = []

    def look(x: Tensor) -> Tensor:
        found.append(tracing.is_only_autograd())
        return 2 * x

    assert tracing.is_only_autograd()
    with torch.no_grad():
        look(torch.ones(1))
    with torch.inference_mode():
        look(torch.ones(1))
    with torch.autocast("cpu", torch.bfloat16):
        look(torch.ones(1))
    torch.func.vmap(look)(torch.ones(2))
    tracing.trace(look, torch.ones(1))
    assert found == [False] * 5
    assert tracing.is_only_autograd()


@canary("autocast.is_autocast_on")
@missing("autocast.is_autocast_on")
@pytest.mark.parametrize("there", [True, False])
def test_autocast_of_any_kind_of_device_is_seen(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not there:
        monkeypatch.delattr(torch._C, "_is_any_autocast_enabled")
    assert not autocast.is_autocast_on()
    for kind in ("cpu", "cuda"):
        before = torch.is_autocast_enabled(kind)
        torch.set_autocast_enabled(kind, True)
        try:
            assert autocast.is_autocast_on()
        finally:
            torch.set_autocast_enabled(kind, before)
    assert not autocast.is_autocast_on()


@canary("tracing.holding")
def test_a_model_holds_other_tensors_for_a_while_tied_ones_together() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    before = copy.deepcopy(model.state_dict())
    with tracing.holding(model, {"0.weight": torch.zeros(2, 2)}):
        assert model(torch.ones(1, 2)).tolist() == [[0, 0]]
        assert model[1].weight is model[0].weight
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert isinstance(model[0].weight, nn.Parameter)


@missing("tracing.holding")
def test_without_an_exchange_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.nn.utils.stateless, "_reparametrize_module")
    with pytest.raises(MissingInternalError, match="_reparametrize_module"):
        tracing.holding(nn.Linear(2, 2), {})


@canary("tracing.operation_name", "tracing.argument_names", "tracing.writes_in_place", "tracing.TorchDispatchMode")
def test_a_dispatch_mode_sees_operations_and_what_they_are() -> None:
    seen = []

    class Mode(tracing.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append((tracing.operation_name(func), tracing.argument_names(func), tracing.writes_in_place(func)))
            return func(*args, **(kwargs or {}))

    with Mode():
        torch.native_dropout(torch.ones(2), 0.5, True)[0].bernoulli_(0.5)
    assert ("aten::bernoulli_", ["self", "p", "generator"], True) in seen
    assert ("aten::native_dropout", ["input", "p", "train"], False) in seen


@missing("tracing.operation_name", "tracing.argument_names", "tracing.writes_in_place")
@pytest.mark.parametrize("ask", [tracing.operation_name, tracing.argument_names, tracing.writes_in_place])
def test_an_operation_that_does_not_say_what_it_is(ask: Any) -> None:
    with pytest.raises(MissingInternalError, match="_schema"):
        ask(object())


@missing("tracing.TorchDispatchMode")
def test_without_dispatch_modes_the_library_can_be_imported() -> None:
    program = (
        "import sys, torch.utils._python_dispatch as d; del d.TorchDispatchMode\n"
        "sys.modules['torch.utils._python_dispatch'] = d; import inputgrad.passes.traced_draws as draws\n"
        "try:\n    draws.TracedDraws()\nexcept draws.EngineError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert "has no torch.utils._python_dispatch.TorchDispatchMode" in done.stdout, done.stderr


# the compiler


@canary("compiler.is_compiled", "compiler.is_loaded")
def test_what_was_compiled_is_seen() -> None:
    whole, own, forward, held = (nn.Linear(2, 2) for _ in range(4))
    assert not any(map(compiler.is_compiled, (whole, own, forward, held)))
    own.compile(backend="eager")
    forward.forward = torch.compile(forward.forward, backend="eager")
    held.act = torch.compile(torch.relu, backend="eager")
    assert all(map(compiler.is_compiled, (torch.compile(whole, backend="eager"), own, forward, held)))
    assert not compiler.is_compiled(whole)
    assert compiler.is_loaded()


@missing("compiler.is_compiled")
def test_a_module_without_signs_counts_as_not_compiled() -> None:
    assert not compiler.is_compiled(nn.Linear(2, 2))


@canary("compiler.outside_compiled_code")
@pytest.mark.filterwarnings("ignore:Dynamo does not know how to trace:UserWarning")  # so it leaves the graph there, as it should
def test_a_stance_can_be_taken_inside_a_compiled_function() -> None:
    def taking(x: Tensor) -> Tensor:
        with compiler.outside_compiled_code(), torch.compiler.set_stance("force_eager"):
            y = x.exp()
        return y + 1

    torch.testing.assert_close(torch.compile(taking, backend="eager")(torch.ones(2)), torch.ones(2).exp() + 1)
    with pytest.raises(AssertionError, match="forbidden callable"):
        torch.compile(torch.compiler.set_stance, backend="eager")("force_eager")


@canary("compiler.has_compiled")
def test_what_was_compiled_anywhere_in_the_process_is_known() -> None:
    before = "import torch, torch._dynamo; from inputgrad.torch_internals.compiler import has_compiled; torch.optim.Adam([torch.ones(1)])"
    program = f"{before}; before = has_compiled(); torch.compile(torch.sin, backend='eager'); print(before, has_compiled())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@canary("compiler.has_compiled")
def test_what_the_library_compiled_itself_is_left_out() -> None:
    program = """
import torch, inputgrad as ig
from inputgrad.torch_internals.compiler import has_compiled
model, x, y = torch.nn.Linear(2, 1), torch.ones(3, 2), torch.ones(3, 1)
criterion = ig.InputGradientLoss("mse", 0.1 * ig.GradientNorm(), engine=ig.engines.Compiled(backend="aot_eager"))
for _ in range(2):
    criterion(model, x, y).backward()
ours = has_compiled()
torch.compile(torch.sin, backend="aot_eager")
print(ours, has_compiled())
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@missing("compiler.has_compiled")
def test_where_it_cannot_be_told_something_may_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._dynamo.eval_frame, "cached_backends")
    assert compiler.has_compiled()


@canary("compiler.may_compile")
def test_code_that_is_called_from_a_compiled_function_knows_it() -> None:
    seen: list[bool] = []

    @torch.compiler.disable(recursive=False)
    def untraced() -> None:
        seen.append(compiler.may_compile())

    def traced(x: Tensor) -> Tensor:
        y = x.exp()
        seen.append(compiler.may_compile())
        untraced()
        return y + 1

    torch.compile(traced, backend="eager")(torch.ones(2))
    untraced()
    assert seen == [True, True, False]


@canary("compiler.KernelsFor")
@pytest.mark.parametrize("mode", [None, "max-autotune-no-cudagraphs"])
def test_a_graph_is_compiled_for_tensors_like_the_given_ones_and_takes_others_too(mode: str | None) -> None:
    def graph(x: Tensor, counter: Tensor) -> list[Tensor]:
        counter.add_(1)
        return [x.t() @ x.sin(), x.exp()]

    x, counter = torch.randn(4, 3), torch.zeros(())
    kernels = compiler.KernelsFor(tracing.trace(graph, x, counter.clone()), [x, counter], "inductor", mode)
    others = [x * 2, torch.randn(3, 4).t(), nn.Parameter(torch.randn(4, 3))]
    for given in (x, *others):
        for found, expected in zip(kernels([given, counter]), graph(given.detach(), torch.zeros(())), strict=True):
            torch.testing.assert_close(found, expected)
            assert not found.requires_grad
    assert counter == 4


@missing("compiler.KernelsFor")
def test_without_the_compiler_itself_a_graph_goes_by_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._inductor, "compile")
    x = torch.randn(4, 3)
    kernels = compiler.KernelsFor(tracing.trace(lambda x: [x.sin()], x), [x], "inductor", None)
    torch.testing.assert_close(kernels([x])[0], x.sin())


@missing("compiler.may_compile")
def test_without_its_callback_code_may_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C._dynamo.eval_frame, "get_eval_frame_callback")
    assert compiler.may_compile()


@missing("compiler.outside_compiled_code")
def test_without_the_switch_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "torch", SimpleNamespace(_C=object()))
    with compiler.outside_compiled_code():
        assert torch.ones(2).sum() == 2
