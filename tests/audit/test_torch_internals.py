"""Private parts of torch that the audit stands on: each is there in this torch and says what it should; one that is missing has a name in the error."""

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from inputgrad.audit import torch_internals as internals
from inputgrad.errors import MissingInternalError


class Seen(TorchFunctionMode):
    """The functions that a mode was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.functions: list[object] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.functions.append(func)
        return func(*args, **(kwargs or {}))


def test_a_mode_sees_nothing_in_the_block() -> None:
    with Seen() as seen:
        with internals.without_torch_function():
            torch.ones(2).sum()
        assert seen.functions == []
        torch.ones(2)
    assert len(seen.functions) == 1


def test_a_transform_is_known_from_within() -> None:
    inside = []

    def square(x: Tensor) -> Tensor:
        inside.append(internals.inside_transform())
        return x.square().sum()

    torch.func.grad(square)(torch.ones(2))
    assert inside == [True]
    assert not internals.inside_transform()


def test_the_innermost_mode() -> None:
    with Seen() as outer:
        assert internals.is_innermost_mode(outer)
        with Seen() as inner:
            assert (internals.is_innermost_mode(outer), internals.is_innermost_mode(inner)) == (False, True)
    assert not internals.is_innermost_mode(outer)


def test_reads_and_writes_of_attributes() -> None:
    x = torch.ones(2, requires_grad=True)
    with Seen() as seen:
        x.grad, x.data  # noqa: B018  # the reading itself is what is watched
        x.grad = None
        x.data = torch.zeros(2)
    reads = [(name, internals.reads(f, name)) for f in seen.functions for name in ("grad", "data") if internals.reads(f, name)]
    writes = [(name, internals.writes(f, name)) for f in seen.functions for name in ("grad", "data") if internals.writes(f, name)]
    assert [name for name, _ in reads] == [name for name, _ in writes] == ["grad", "data"]


def test_nodes_know_leaves_shapes_and_their_order() -> None:
    x = torch.ones(3, 2, dtype=torch.float16, requires_grad=True)
    before = internals.next_node_number()
    first, root = (doubled := 2 * x).grad_fn, doubled.sum()
    assert before < internals.node_number(first) < internals.node_number(root.grad_fn) < internals.next_node_number()
    assert internals.leaf_of(first) is None
    assert any(internals.leaf_of(node) is x for node, _ in first.next_functions)
    assert [(tuple(item.shape), item.dtype) for item in internals.gradient_types(first)] == [((3, 2), torch.float16)]
    assert internals.summed_shape(root.grad_fn) == (3, 2)
    assert internals.summed_shape((-root).grad_fn) is None


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_by_the_batchs_own_statistics(training: bool) -> None:
    layer = nn.BatchNorm1d(2).train(training)
    node = layer(torch.randn(4, 2, requires_grad=True)).grad_fn
    assert internals.is_training_batch_norm(node) is training
    assert not internals.is_training_batch_norm(torch.ones(2, requires_grad=True).sum().grad_fn)


def test_once_differentiable_functions() -> None:
    class Plain(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # type: ignore[no-untyped-def]
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):  # type: ignore[no-untyped-def]
            return gradient

    class Once(Plain):
        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient):  # type: ignore[no-untyped-def]
            return gradient

    x = torch.ones(2, requires_grad=True)
    names = [internals.once_differentiable_function(value.grad_fn) for value in (Plain.apply(x), Once.apply(x), x.sum())]
    assert names == [None, "Once", None]
    own = [internals.own_function(value.grad_fn) for value in (Plain.apply(x), Once.apply(x), x.sum())]
    assert own == ["Plain", None, None]


def test_a_modules_backward_hook_stands_in_the_graph() -> None:
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda *_: None)
    assert layer(torch.ones(1, 2)).grad_fn.name().startswith(internals.HOOK_NODE)


def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch._C._functorch, "maybe_current_level")
    internals._part.cache_clear()
    with pytest.raises(MissingInternalError, match=r"torch\._C\._functorch\.maybe_current_level.*Install a torch from 2\.6"):
        internals.inside_transform()


def test_what_has_a_fallback_needs_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.overrides, "_get_current_function_mode")
    with Seen() as seen:
        assert not internals.is_innermost_mode(seen)
    assert internals.gradient_types(object()) == ()
    assert internals.averages_gradients(object())
    with pytest.raises(MissingInternalError, match="_sequence_nr"):
        internals.node_number(object())
