"""Functions of torch that the audit replaces: every one is put back, in whatever way the block ends."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from inputgrad.audit.probes.patches import Patch, installed
from inputgrad.audit.probes.run_watcher import RunWatcher


class Base:
    def name(self) -> str:
        return "base"


class Derived(Base):
    pass


def louder(original: Callable[..., str]) -> Callable[..., str]:
    return lambda *args: original(*args).upper()


def test_a_replacement_calls_the_original_and_goes_again() -> None:
    owner = SimpleNamespace(name=lambda: "plain")
    original = owner.name
    with installed([Patch(owner, "name", louder)]):
        assert owner.name() == "PLAIN"
    assert owner.name is original


def test_what_a_class_inherits_is_inherited_again() -> None:
    with installed([Patch(Derived, "name", louder)]):
        assert (Derived().name(), Base().name()) == ("BASE", "base")
    assert "name" not in vars(Derived)
    assert Derived().name() == "base"


def test_one_name_replaced_twice_is_put_back() -> None:
    owner = SimpleNamespace(name=lambda: "plain")
    original = owner.name
    with installed([Patch(owner, "name", louder), Patch(owner, "name", lambda original: lambda: f"<{original()}>")]):
        assert owner.name() == "<PLAIN>"
    assert owner.name is original


def failing(original: Callable[..., Any]) -> Callable[..., Any]:
    raise ZeroDivisionError


def test_all_are_put_back_where_a_later_one_cannot_be_made() -> None:
    owner = SimpleNamespace(name=lambda: "plain", other=lambda: "other")
    before = dict(vars(owner))
    with pytest.raises(ZeroDivisionError), installed([Patch(owner, "name", louder), Patch(owner, "other", failing)]):
        pass
    assert vars(owner) == before


def test_a_watcher_that_cannot_begin_leaves_torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = RunWatcher()
    patches = watcher.patches()
    before = [getattr(patch.owner, patch.name) for patch in patches]
    modes = torch._C._len_torch_function_stack()
    monkeypatch.setattr(watcher, "patches", lambda: [*patches, Patch(torch, "no_such_function", louder)])
    with pytest.raises(AttributeError, match="no_such_function"), watcher:
        pass
    assert len(before) > 10
    assert [getattr(patch.owner, patch.name) for patch in patches] == before
    assert torch._C._len_torch_function_stack() == modes
