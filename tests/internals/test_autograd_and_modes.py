"""Canaries for what is asked of autograd, its hooks and its nodes, of function modes, transforms and checkpoints."""

import operator
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.checkpoint import checkpoint

from inputgrad.derivatives.by_backward import by_backward
from inputgrad.errors import MissingInternalError
from inputgrad.torch_internals import autograd, autograd_graph, checkpoints, function_modes, functorch, gradient_hooks
from tests.internals.register import canary, missing


def without(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let the module meet a torch that has none of the parts it looks up."""
    monkeypatch.setattr(module, "torch", SimpleNamespace(_C=object(), autograd=SimpleNamespace(Variable=object()), __version__="99.0"))


class Asking(torch.autograd.Function):
    """The sum of its arguments; its backward pass asks the engine about each of them."""

    told: list[bool | None]

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        return torch.stack(tensors).sum(0)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, ...]:
        Asking.told = [autograd.engine_goes_on_to(node) for node, _ in ctx.next_functions]
        return (gy,) * len(ctx.needs_input_grad)


def leaves() -> tuple[Tensor, Tensor]:
    return torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)


class Named(TorchFunctionMode):
    """Keeps the names of the functions that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))


@canary("autograd.gradient_from")
@missing("autograd.gradient_from")
@pytest.mark.parametrize("there", [True, False])
def test_a_gradient_is_that_of_torchs_own_call(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not there:
        monkeypatch.delattr(torch.autograd.graph, "_engine_run_backward")
    x, w = leaves()
    found = autograd.gradient_from((x * w).exp() * 2, torch.tensor([1.0, 3.0]), [x, w, torch.ones(1, requires_grad=True)], create_graph=True)
    wanted = torch.autograd.grad((x * w).exp() * 2, [x, w], torch.tensor([1.0, 3.0]), create_graph=True)
    assert found[2] is None
    for own, torchs in zip(found, wanted, strict=False):
        assert own is not None
        torch.testing.assert_close(own, torchs)
        torch.testing.assert_close(*(torch.autograd.grad(g.sum(), [x, w], retain_graph=True) for g in (own, torchs)))
    output = (x * w).exp()
    first, again = (autograd.gradient_from(output, torch.ones(2), [x], create_graph=False) for _ in range(2))
    assert torch.equal(first[0], again[0]), "the graph is kept"  # type: ignore[arg-type]  # a path leads there


@canary("autograd.backward_from")
@missing("autograd.backward_from")
@pytest.mark.parametrize("there", [True, False])
def test_a_backward_pass_is_that_of_torchs_own_call(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not there:
        monkeypatch.delattr(torch.autograd.graph, "_engine_run_backward")
    x, w = leaves()
    heard: list[Tensor] = []
    w.register_post_accumulate_grad_hook(lambda leaf: heard.append(leaf))
    for _ in range(2):  # the second time it is added
        autograd.backward_from((x * w).exp(), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(x.grad, 2 * torch.tensor([1.0, 3.0]) * torch.e)
    assert x.grad is not None
    assert not x.grad.requires_grad
    assert (len(heard), heard[0] is w) == (2, True)
    freed = (x * w).exp()
    autograd.backward_from(freed, torch.ones(2))
    with pytest.raises(RuntimeError, match="second time"):
        autograd.backward_from(freed, torch.ones(2))
    with Named() as mode:
        autograd.backward_from(x * w, torch.ones(2))
    assert "backward" in mode.names


class Kept(torch.autograd.Function):
    """Its argument; notes whether its backward pass keeps the graph."""

    told: ClassVar[list[bool]] = []

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        Kept.told.append(autograd.keeps_graph())
        return grads[0]


@canary("autograd.keeps_graph")
def test_a_backward_pass_tells_whether_it_keeps_its_graph() -> None:
    Kept.told.clear()
    x, _ = leaves()
    loss = Kept.apply(x).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert Kept.told == [True, False]


@missing("autograd.keeps_graph")
def test_where_a_backward_pass_does_not_tell_the_graph_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C._autograd, "_get_current_graph_task_keep_graph")
    assert autograd.keeps_graph()


def test_a_function_mode_sees_the_gradient_being_taken() -> None:
    x, w = leaves()
    output = x * w
    with Named() as mode:
        autograd.gradient_from(output, torch.ones(2), [x], create_graph=False)
    assert "grad" in mode.names


@canary("autograd.engine_goes_on_to")
def test_the_engine_tells_where_it_goes_on() -> None:
    x, w = leaves()
    torch.autograd.grad(Asking.apply(x, w).sum(), x)
    assert Asking.told == [True, False], "leaves"
    torch.autograd.grad(Asking.apply(2 * x, 2 * w).sum(), x)
    assert Asking.told == [True, False], "nodes"
    Asking.apply(x, 2 * w).sum().backward()
    assert Asking.told == [True, True], "backward()"
    assert autograd.engine_goes_on_to((2 * x).grad_fn) is None, "no backward pass is running"


@missing("autograd.engine_goes_on_to")
def test_an_engine_that_cannot_be_asked_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, autograd)
    x, w = leaves()
    torch.autograd.grad(Asking.apply(x, w).sum(), x)
    assert Asking.told == [None, None]


class Announcing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, heard: list[str]) -> Tensor:
        ctx.heard = heard
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        autograd.after_backward(lambda: ctx.heard.append("after"))
        ctx.heard.append("within")
        return gy, None


@canary("autograd.after_backward")
def test_a_callback_runs_when_the_backward_pass_is_over() -> None:
    x, heard = torch.ones(2, requires_grad=True), []
    y = 2 * x
    y.register_hook(lambda _: heard.append("later"))
    Announcing.apply(y, heard).sum().backward()
    assert heard == ["within", "later", "after"]


@missing("autograd.after_backward")
def test_without_callbacks_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, autograd)
    with pytest.raises(MissingInternalError, match=r"torch \d.* has no .*queue_callback.*static_graph=False"):
        autograd.after_backward(print)


def gradient(output: Tensor, x: Tensor) -> Tensor:
    """With a graph of its own; its seed requires grad, so that what torch hands on without a derivative is there to be seen."""
    seed = torch.ones((), requires_grad=True)
    return torch.autograd.grad(output.sum(), x, seed, create_graph=True)[0]


@canary("autograd_graph.leaves_of", "autograd_graph.nodes_of", "autograd_graph.is_leaf_node")
def test_nodes_and_leaves_of_a_graph() -> None:
    x, w = leaves()
    y = (x * w).exp() + x
    nodes = autograd_graph.nodes_of([y])
    assert sorted(node.name().rpartition("::")[2] for node in nodes) == ["AccumulateGrad", "AccumulateGrad", "AddBackward0", "ExpBackward0", "MulBackward0"]
    assert {id(leaf) for leaf in autograd_graph.leaves_of([y])} == {id(x), id(w)}
    assert {id(node.variable) for node in nodes if autograd_graph.is_leaf_node(node)} == {id(x), id(w)}
    assert [id(leaf) for leaf in autograd_graph.leaves_of([x])] == [id(x)]


@canary("autograd_graph.dtypes_between")
def test_the_types_through_which_the_variables_reach_the_output() -> None:
    x, w = leaves()
    y = x.half().float() * w.bfloat16()
    assert autograd_graph.dtypes_between([y], [x]) == {torch.float32, torch.float16}, "what leads to w alone is left out"
    assert autograd_graph.dtypes_between([y], [w]) == {torch.float32, torch.bfloat16}
    half = x.half()
    assert autograd_graph.dtypes_between([half.double()], [half]) == {torch.float16, torch.float64}, "a variable that is no leaf"
    with torch.autocast("cpu", torch.bfloat16):
        y = F.linear(x[None], torch.ones(2, 2)).float()
    assert autograd_graph.dtypes_between([y], [x]) == {torch.float32, torch.bfloat16}
    assert autograd_graph.dtypes_between([y], [w]) == {torch.float32}, "not reached"


@missing("autograd_graph.dtypes_between")
def test_nodes_that_do_not_tell_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object stands for a node of a torch that keeps no types of its inputs."""
    monkeypatch.setattr(autograd_graph, "_leading_to", lambda *_: {object()})
    x, _ = leaves()
    assert autograd_graph.dtypes_between([x.half().double()], [x]) == {torch.float32, torch.float64}


@canary("autograd_graph.numbers_for_alone")
def test_what_is_computed_for_some_leaves_alone() -> None:
    x, w = torch.ones(3, requires_grad=True), torch.ones(3, 3, requires_grad=True)
    y = (w @ x.sin().exp()).sum()
    assert autograd_graph.numbers_for_alone([y], [x]) == 6, "exp and sin of three numbers each"
    assert autograd_graph.numbers_for_alone([y], [w]) == 0, "what leads to w leads to x too"


@missing("autograd_graph.numbers_for_alone")
def test_nodes_that_do_not_tell_their_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograd_graph, "_leading_to", lambda ends, _: {object()} if len(ends) == 1 else set())
    x, w = leaves()
    assert autograd_graph.numbers_for_alone([x.exp() * w * leaves()[0]], [x]) == 0


@canary("autograd_graph.custom_functions")
def test_custom_functions_are_named_but_for_those_of_the_library() -> None:
    x, w = leaves()
    assert autograd_graph.custom_functions([Once.apply(Asking.apply(x, w)).exp()]) == ["Asking", "Once"]
    assert autograd_graph.custom_functions([(x * w).exp()]) == []
    y = by_backward(torch.sin, (x,), {})
    assert type(y.grad_fn).__name__ == "_ValueBackward", "it is a Function of the library"
    assert autograd_graph.custom_functions([y]) == []


@missing("autograd_graph.custom_functions")
def test_a_node_that_does_not_know_its_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, _ = leaves()
    y = by_backward(torch.sin, (x,), {})
    monkeypatch.delattr(type(y.grad_fn), "_forward_cls")
    assert autograd_graph.custom_functions([y]) == ["_Value"]


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        return gy * 2


@canary("autograd_graph.is_once_differentiable", "autograd_graph.is_without_derivative")
def test_the_node_of_a_once_differentiable_function() -> None:
    x, _ = leaves()
    nodes = autograd_graph.nodes_of([gradient(Once.apply(x), x)])
    assert any(map(autograd_graph.is_once_differentiable, nodes))
    assert any(map(autograd_graph.is_without_derivative, nodes))
    assert not any(map(autograd_graph.is_without_derivative, autograd_graph.nodes_of([gradient(x.exp(), x)])))


@canary("autograd_graph.is_fused_attention", "autograd_graph.is_without_derivative")
def test_the_nodes_of_fused_attention() -> None:
    """torch's fused attention has no second derivative: should it get one, the canary falls, and our own may go."""
    q = torch.randn(1, 2, 4, 8, requires_grad=True)
    output = F.scaled_dot_product_attention(q, q, q)
    assert any(map(autograd_graph.is_fused_attention, autograd_graph.nodes_of([output])))
    nodes = autograd_graph.nodes_of([gradient(output, q)])
    assert any(map(autograd_graph.is_without_derivative, nodes))
    assert not any(map(autograd_graph.is_once_differentiable, nodes))


@canary("autograd_graph.is_reentrant")
def test_the_node_of_a_reentrant_checkpoint() -> None:
    x, _ = leaves()
    assert autograd_graph.is_reentrant([checkpoint(torch.exp, x, use_reentrant=True)])
    assert not autograd_graph.is_reentrant([checkpoint(torch.exp, x, use_reentrant=False)])


@canary("autograd_graph.saves_statistics", "autograd_graph.nodes_of_statistics", "autograd_graph.saved_normalisation", "autograd_graph.SavedNormalisation")
@pytest.mark.parametrize("shape", [None, (5,)], ids=["batch", "layer"])
def test_what_a_normalisation_saves(shape: tuple[int, ...] | None) -> None:
    x, w = torch.randn(4, 5, requires_grad=True), torch.randn(5)
    y = F.batch_norm(x, None, None, w, training=True) if shape is None else F.layer_norm(x, shape, w)
    for _ in range(2):  # what is known of a class of nodes is kept
        assert autograd_graph.saves_statistics(y.grad_fn)
        assert not autograd_graph.saves_statistics(F.group_norm(x, 1).grad_fn)
        assert autograd_graph.nodes_of_statistics([y.tanh(), x * 2, y]) == [y.grad_fn]
    saved = autograd_graph.saved_normalisation(gradient(y.sin(), x))
    assert saved is not None
    assert (saved.shape, saved.input.grad_fn) == (shape, x.grad_fn)
    assert torch.equal(saved.weight, w)
    torch.testing.assert_close(saved.inverse_deviation.flatten(), torch.rsqrt(x.var(0 if shape is None else 1, correction=0) + 1e-5))


@canary("autograd_graph.saved_normalisation")
def test_what_saves_no_statistics() -> None:
    x = torch.randn(4, 5, requires_grad=True)
    assert autograd_graph.saved_normalisation(None) is None
    assert autograd_graph.saved_normalisation(gradient(x.sin(), x)) is None
    assert autograd_graph.saved_normalisation(gradient(F.batch_norm(x, torch.zeros(5), torch.ones(5)).sin(), x)) is None


@missing("autograd_graph.saved_normalisation")
def test_without_saved_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograd_graph, "_INVERSE_DEVIATION", ("_saved_by_another_name",))
    x = torch.randn(4, 5, requires_grad=True)
    with pytest.raises(MissingInternalError, match="saved statistics"):
        autograd_graph.saved_normalisation(gradient(F.layer_norm(x, (5,)).sin(), x))


# checkpoints


class Seen(TorchFunctionMode):
    """The functions that a mode is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.functions.append(func)
        return func(*args, **(kwargs or {}))


def under_checkpoint() -> tuple[list[bool], Seen]:
    """Whether a region was seen as one, in its first run, in its second and after both; and a mode that it was to run again under."""
    inside, mode = [], Seen()

    def again() -> Seen:
        return mode

    def region(x: Tensor) -> Tensor:
        inside.append(checkpoints.in_checkpoint())
        assert checkpoints.recomputed_in(again)
        return x.sin().cos()

    y = checkpoint(region, torch.ones(2, requires_grad=True), use_reentrant=False)
    assert mode.functions == []
    y.sum().backward()
    inside.append(checkpoints.in_checkpoint())
    return inside, mode


@canary("checkpoints.in_checkpoint", "checkpoints.recomputed_in")
def test_a_checkpointed_region_is_seen_and_runs_again_under_a_mode() -> None:
    inside, mode = under_checkpoint()
    assert inside == [True, False, False]
    assert Tensor.sin in mode.functions


@canary("checkpoints.in_checkpoint")
def test_hooks_of_other_kinds_are_no_checkpoint() -> None:
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t), torch.autograd.graph.save_on_cpu():
        assert not checkpoints.in_checkpoint()
        assert checkpoints.recomputed_in(Seen)


@missing("checkpoints.in_checkpoint", "checkpoints.recomputed_in")
def test_before_torch_2_8_the_call_stack_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "torch", SimpleNamespace(_C=SimpleNamespace(_autograd=object())))
    inside, mode = under_checkpoint()
    assert inside == [True, False, False]
    assert Tensor.sin in mode.functions


class OfAnotherPackage:
    """Re-entrant checkpoints of other packages bear torch's name, as those of DeepSpeed and Megatron do."""

    class CheckpointFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, region: Any, x: Tensor) -> Tensor:
            return region(x)


class ByAnotherName(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, region: Any, x: Tensor) -> Tensor:
        return region(x)


@canary("checkpoints.in_reentrant_checkpoint")
def test_the_first_run_of_a_reentrant_region_is_seen() -> None:
    inside, x = [], torch.ones(2, requires_grad=True)

    def region(x: Tensor) -> Tensor:
        inside.append(checkpoints.in_reentrant_checkpoint())
        return x.sin()

    checkpoint(region, x, use_reentrant=True).sum().backward()
    assert inside == [True, False], "the second run is the backward pass"
    OfAnotherPackage.CheckpointFunction.apply(region, x)
    checkpoint(region, x, use_reentrant=False)
    region(x)
    assert inside[2:] == [True, False, False]


@missing("checkpoints.in_reentrant_checkpoint")
def test_a_reentrant_region_by_another_name_is_not_seen() -> None:
    inside = []
    ByAnotherName.apply(lambda x: inside.append(checkpoints.in_reentrant_checkpoint()) or x * 2, torch.ones(2))
    assert inside == [False]


@missing("checkpoints.recomputed_in")
def test_a_region_of_an_unknown_form_cannot_be_made_to_run_again_under_a_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_region", lambda: object())
    assert checkpoints.in_checkpoint()
    assert not checkpoints.recomputed_in(Seen)


# hooks


@canary("gradient_hooks.handed_over")
def test_a_gradient_is_handed_over_whole_and_not_kept() -> None:
    x, y, heard = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True), []
    x.register_hook(lambda _: heard.append("the user's"))
    received: list[tuple[int, list[float]]] = []
    with gradient_hooks.handed_over([x, y], lambda number, gradient: received.append((number, gradient.tolist()))):
        kept = torch.autograd.grad((x * x + 3 * x).sum(), [x, y], allow_unused=True)
    assert received == [(0, [5.0, 5.0, 5.0])]
    assert heard == []
    assert kept[0].untyped_storage().nbytes() == 4
    assert kept[1] is None
    torch.autograd.grad(x.sum(), x)
    assert heard == ["the user's"]


@canary(
    *(f"gradient_hooks.{name}" for name in ("has_gradient_hooks", "has_accumulation_hooks", "without_gradient_hooks", "without_accumulation_hooks")),
)
def test_hooks_are_seen_and_can_be_silenced() -> None:
    (x, _), heard = leaves(), []
    assert not gradient_hooks.has_gradient_hooks(x)
    assert not gradient_hooks.has_accumulation_hooks(x)
    handles = [x.register_hook(lambda _: heard.append("gradient")), x.register_post_accumulate_grad_hook(lambda _: heard.append("accumulated"))]
    assert gradient_hooks.has_gradient_hooks(x)
    assert gradient_hooks.has_accumulation_hooks(x)
    with gradient_hooks.without_gradient_hooks([x]):
        torch.autograd.grad(x.sum(), x)
        assert heard == []
        x.sum().backward()
        assert heard == ["accumulated"]
        with gradient_hooks.without_accumulation_hooks([x]):
            x.sum().backward()
        assert heard == ["accumulated"]
    x.sum().backward()
    assert heard == ["accumulated", "gradient", "accumulated"]
    for handle in handles:
        handle.remove()
    assert not gradient_hooks.has_gradient_hooks(x)


@canary("gradient_hooks.are_heard")
def test_hooks_of_either_kind_are_seen_on_several_tensors_at_once() -> None:
    first, second, silent = (torch.ones(2, requires_grad=True) for _ in range(3))
    first.register_hook(lambda gradient: gradient)
    handle = second.register_post_accumulate_grad_hook(lambda tensor: None)
    assert gradient_hooks.are_heard([first, second, silent]) == [True, True, False]
    handle.remove()
    assert gradient_hooks.are_heard([second, first]) == [False, True]


@missing("gradient_hooks.are_heard")
def test_without_the_dicts_of_hooks_several_tensors_are_one_error() -> None:
    other: Any = object()
    with pytest.raises(MissingInternalError, match="hooks"):
        gradient_hooks.are_heard([other])


@missing(
    *(f"gradient_hooks.{name}" for name in ("has_gradient_hooks", "has_accumulation_hooks", "without_gradient_hooks", "without_accumulation_hooks")),
)
def test_without_the_dicts_of_hooks_there_is_one_error() -> None:
    """An object stands for a tensor of a torch that keeps its hooks elsewhere."""
    other: Any = object()
    for ask in (gradient_hooks.has_gradient_hooks, gradient_hooks.has_accumulation_hooks):
        with pytest.raises(MissingInternalError, match="hooks"):
            ask(other)
    for silence in (gradient_hooks.without_gradient_hooks, gradient_hooks.without_accumulation_hooks):
        with pytest.raises(MissingInternalError, match="hooks"), silence([other]):
            pass


# function modes


@canary("function_modes.unseen_by_modes")
def test_a_mode_does_not_see_what_is_kept_from_it() -> None:
    with Seen() as mode:
        with function_modes.unseen_by_modes():
            torch.ones(2).exp()
        assert mode.functions == []
        torch.ones(2).exp()
    assert Tensor.exp in mode.functions


@missing("function_modes.unseen_by_modes")
def test_without_it_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, function_modes)
    with pytest.raises(MissingInternalError, match="DisableTorchFunction"):
        function_modes.unseen_by_modes()


@canary("function_modes.switches_gradients")
@pytest.mark.parametrize("region", [torch.no_grad, lambda: torch.set_grad_enabled(False)])
def test_a_mode_sees_where_gradients_are_switched_off(region: Any) -> None:
    with Seen() as mode, region():
        pass
    assert any(map(function_modes.switches_gradients, mode.functions))
    assert not function_modes.switches_gradients(torch.relu)


@missing("function_modes.switches_gradients")
def test_without_the_switch_there_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, function_modes)
    with pytest.raises(MissingInternalError, match=r"_set_grad_enabled.*engine='double_backward'"):
        function_modes.switches_gradients(torch.relu)


class Writes(TorchFunctionMode):
    """Of each call: what it is expected to write to, and which of its arguments count another write after it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[tuple[Tensor, ...], list[Tensor]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with torch._C.DisableTorchFunction():
            before = [(value, value._version) for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            result = func(*args, **kwargs)
            self.calls.append((function_modes.writes_to(func, args, kwargs), [tensor for tensor, version in before if tensor._version > version]))
        return result


ARITHMETIC = (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.ifloordiv, operator.imod, operator.ipow)
BITWISE = (operator.iand, operator.ior, operator.ixor, operator.ilshift, operator.irshift)
WRITING: list[Any] = [
    *(lambda x, y, write=write: write(x, y) for write in ARITHMETIC),
    *(lambda x, y, write=write: write(x.long(), y.long()) for write in BITWISE),
    lambda x, y: x.__setitem__(0, 3.0),
    lambda x, y: x.copy_(y),
    lambda x, y: torch.exp_(x),
    lambda x, y: F.relu_(x),
    lambda x, y: nn.init.ones_(x),
    lambda x, y: torch.add(y, 1, out=x),
    lambda x, y: torch.max(torch.ones(2, 2), 0, out=(x, torch.zeros(2, dtype=torch.long))),
    lambda x, y: F.relu(x, inplace=True),
    lambda x, y: F.leaky_relu(x, 0.1, True),
    lambda x, y: torch._foreach_mul_([x], 2.0),
    lambda x, y: torch.ops.aten.add_(x, y),
    lambda x, y: torch.ops.aten.add_.Tensor(x, y),
    lambda x, y: torch.ops.aten.add.out(y, y, out=x),
    lambda x, y: torch.ops.aten.max.dim_max(torch.ones(2, 2), 0, max=x, max_values=torch.zeros(2, dtype=torch.long)),
]
MAKING: list[Any] = [
    torch.add,
    torch.maximum,
    F.mse_loss,
    lambda x, y: x**y,
    lambda x, y: 2 / x,
    lambda x, y: x[0],
    lambda x, y: x.exp(),
    torch.ops.aten.add.Tensor,
]


@canary("gradient_hooks.handed_over")
def test_gradients_are_handed_over_one_by_one_and_not_kept() -> None:
    x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor(3.0, requires_grad=True)
    heard: list[Tensor] = []
    x.register_hook(heard.append)
    received: dict[int, Tensor] = {}
    with gradient_hooks.handed_over([x, y], received.__setitem__):
        given = torch.autograd.grad((x * x).sum() * y, [x, y])
    assert {number: part.tolist() for number, part in received.items()} == {0: [6.0, 12.0], 1: 5.0}
    assert [part.untyped_storage().nbytes() for part in given] == [4, 4], "a zero of no size in place of each"
    assert heard == []
    torch.autograd.grad(x.sum(), x)
    assert len(heard) == 1


class Nested(torch.autograd.Function):
    """x·w, whose backward differentiates in w by itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * w

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        with torch.enable_grad():
            (inner,) = torch.autograd.grad((x.detach() * w).sum(), w)
        return g * w, g * inner


@canary("gradient_hooks.handed_over")
def test_a_gradient_that_a_function_takes_for_itself_is_left_to_it() -> None:
    x, w = torch.tensor([2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    received: list[float] = []
    total = Nested.apply(x, w).sum()
    with gradient_hooks.handed_over([w], lambda _, gradient: received.append(float(gradient)), [total]):
        torch.autograd.grad(total, [w])
    assert received == [2.0]


@canary("function_modes.is_in_place")
def test_names_tell_whether_a_function_works_in_place() -> None:
    in_place = [(torch.Tensor.add_, {}), (torch.Tensor.__iadd__, {}), (F.relu, {"inplace": True}), (torch.ops.aten.add_.Tensor, {})]
    assert all(function_modes.is_in_place(function, kwargs) for function, kwargs in in_place)
    others = [(torch.add, {}), (torch.Tensor.__add__, {}), (F.relu, {"inplace": False}), (torch.ops.aten.add.Tensor, {})]
    assert not any(function_modes.is_in_place(function, kwargs) for function, kwargs in others)


@canary("function_modes.writes_to")
@pytest.mark.parametrize(("writes", "call"), [*((True, call) for call in WRITING), *((False, call) for call in MAKING)])
def test_what_a_function_writes_to_is_told(writes: bool, call: Any) -> None:
    """Against the count of writes that each tensor keeps."""
    with Writes() as mode:
        call(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]))
    assert [[id(tensor) for tensor in told] for told, _ in mode.calls] == [[id(tensor) for tensor in written] for _, written in mode.calls]
    assert any(written for _, written in mode.calls) == writes


@canary("function_modes.homes_of_functions")
@pytest.mark.parametrize("call", [F.gelu, F.leaky_relu, F.elu_, F.hardtanh, torch.relu, Tensor.abs], ids=lambda call: call.__name__)
def test_what_a_mode_sees_has_one_of_these_homes(call: Any) -> None:
    x = torch.ones(2)
    with Seen() as mode:
        call(x)
    (seen,) = mode.functions
    assert any(getattr(home, seen.__name__, None) is seen for home in function_modes.homes_of_functions())


@missing("function_modes.homes_of_functions")
def test_a_home_that_is_gone_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, function_modes)
    assert function_modes.homes_of_functions() == (function_modes.torch, F, Tensor)


@canary("function_modes.body_for_modes")
def test_a_mode_sees_inside_a_function_that_is_python() -> None:
    attention, x = nn.MultiheadAttention(4, 2), torch.randn(3, 1, 4)
    given = (x, x, x, 4, 2, attention.in_proj_weight, attention.in_proj_bias, None, None, False, 0.0, attention.out_proj.weight, attention.out_proj.bias)
    with Seen() as whole:
        expected, _ = F.multi_head_attention_forward(*given, need_weights=False)
    assert whole.functions == [F.multi_head_attention_forward]
    with Seen() as parts:
        output, _ = function_modes.body_for_modes(F.multi_head_attention_forward)(*given, need_weights=False)
    assert F.scaled_dot_product_attention in parts.functions
    torch.testing.assert_close(output, expected)


@canary("function_modes.own_body")
def test_functions_of_torch_that_are_python_have_a_body() -> None:
    body = function_modes.own_body(F.multi_head_attention_forward)
    assert body is not None
    assert body is function_modes.own_body(F.multi_head_attention_forward), "made once"
    assert body.__code__ is F.multi_head_attention_forward.__code__
    assert [function_modes.own_body(other) for other in (torch.relu, Tensor.abs, _product)] == [None] * 3


OF_EXPORTED = {"relu": torch.relu, "leaky_relu": torch.nn.functional.leaky_relu, "hardtanh": F.hardtanh, "abs": torch.abs, "maximum": torch.maximum}


@canary("function_modes.public_form")
@pytest.mark.parametrize("name", OF_EXPORTED)
def test_operations_of_exported_programs_have_a_public_form(name: str) -> None:
    x = torch.tensor([-1.0, 2.0])
    given = (x, x) if name == "maximum" else (x,)
    for called in (getattr(torch.ops.aten, name), getattr(torch.ops.aten, name).default):
        with Seen() as mode:
            expected = called(*given)
        (seen,) = mode.functions
        assert function_modes.public_form(seen) is OF_EXPORTED[name]
        torch.testing.assert_close(OF_EXPORTED[name](*given), expected)


@missing("function_modes.public_form")
def test_an_operation_in_another_form_stays_itself() -> None:
    for other in (torch.relu, object(), _product, torch.ops.prim.device):
        assert function_modes.public_form(other) is other


@missing("function_modes.body_for_modes")
def test_a_function_that_does_not_hand_itself_over_runs_as_it_is() -> None:
    assert function_modes.body_for_modes(_product)(3, b=4) == 12


def _product(a: int, *, b: int = 2) -> int:
    return a * b


# transforms

CONSTANT = torch.ones(2)


@canary("functorch.is_transforming", "functorch.is_transformed")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:`torch.jit:FutureWarning")  # of torch.func.jvp itself
def test_a_transform_is_seen() -> None:
    told = []

    def function(x: Tensor) -> Tensor:
        told.append((functorch.is_transforming(), functorch.is_transformed(x), functorch.is_transformed(CONSTANT)))
        return x.sin()

    torch.func.jvp(function, (torch.ones(2),), (torch.ones(2),))
    torch.func.grad(lambda x: function(x).sum())(torch.ones(2))
    function(torch.ones(2))
    assert told == [(True, True, False), (True, True, False), (False, False, False)]


@missing("functorch.is_transforming", "functorch.is_transformed")
def test_transforms_that_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, functorch)
    assert functorch.is_transforming(), "so that no Function of ours meets one"
    with pytest.raises(MissingInternalError, match=r"is_functorch_wrapped_tensor.*reverse_over_forward.*engine='double_backward'"):
        functorch.is_transformed(torch.ones(2))


@canary("functorch.has_dual_level")
def test_a_level_of_forward_mode_is_seen() -> None:
    assert not functorch.has_dual_level()
    with torch.autograd.forward_ad.dual_level():
        assert functorch.has_dual_level()
    assert not functorch.has_dual_level()


@missing("functorch.has_dual_level")
def test_levels_that_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.autograd.forward_ad, "_current_level")
    assert not functorch.has_dual_level()


class InBackward(torch.autograd.Function):
    told: ClassVar[list[bool]] = []
    """Whether the backward of a Function ran."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        InBackward.told.append(autograd_graph.in_custom_backward())
        return x.clone()

    @staticmethod
    def backward(_ctx: Any, g: Tensor) -> Tensor:
        InBackward.told.append(autograd_graph.in_custom_backward())
        return g


@canary("autograd_graph.in_custom_backward")
def test_the_backward_of_a_function_is_seen() -> None:
    InBackward.told.clear()
    InBackward.apply(torch.ones(2, requires_grad=True)).sum().backward()
    assert InBackward.told == [False, True]


@missing("autograd_graph.in_custom_backward")
def test_backwards_that_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_current_autograd_node")
    assert not autograd_graph.in_custom_backward()


@missing("gradient_hooks.handed_over")
def test_without_the_number_of_a_pass_what_a_function_takes_is_received_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C, "_current_graph_task_id")
    x, w = torch.tensor([2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
    received: list[float] = []
    with gradient_hooks.handed_over([w], lambda _, gradient: received.append(float(gradient)), [total := Nested.apply(x, w).sum()]):
        torch.autograd.grad(total, [w])
    assert len(received) == 2


@canary("autograd_graph.was_freed")
def test_a_graph_that_backward_freed_is_known() -> None:
    parameter = torch.tensor(1.0, requires_grad=True)
    computed = parameter.exp()
    assert not autograd_graph.was_freed(computed)
    computed.backward()
    assert autograd_graph.was_freed(computed)
