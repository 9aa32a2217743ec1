"""The exchange of ``DTensor.from_local`` ends with its last user, whatever happens in between. Its gradients: tests/scale/test_parallel.py, four processes."""

import threading

import pytest
import torch
from torch.distributed.tensor import DTensor

from inputgrad.distributed.tensor_parallel import twice_differentiable_from_local
from tests import limits


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that is joined to others."""
    monkeypatch.setattr(torch.distributed.distributed_c10d, "is_initialized", lambda: True)


def test_nothing_is_exchanged_where_no_processes_are_joined() -> None:
    before = DTensor.from_local
    with twice_differentiable_from_local():
        assert DTensor.from_local is before


def nested_and_broken_off() -> None:
    with twice_differentiable_from_local():
        ours = DTensor.from_local
        with twice_differentiable_from_local():
            assert DTensor.from_local is ours
        assert DTensor.from_local is ours
        raise ZeroDivisionError


@pytest.mark.usefixtures("joined")
def test_nested_users_and_an_exception() -> None:
    before = DTensor.from_local
    with twice_differentiable_from_local():
        assert DTensor.from_local is not before
    with pytest.raises(ZeroDivisionError):
        nested_and_broken_off()
    assert DTensor.from_local is before


@pytest.mark.usefixtures("joined")
def test_users_in_several_threads_that_overlap() -> None:
    before, both, seen = DTensor.from_local, threading.Barrier(2, timeout=limits.THREADS), []

    def use(first: bool) -> None:
        with twice_differentiable_from_local():
            both.wait()
            if not first:
                both.wait()  # the other one has left
            seen.append(DTensor.from_local is not before)
        if first:
            both.wait()

    threads = [threading.Thread(target=use, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(limits.THREADS)
    assert seen == [True, True]
    assert DTensor.from_local is before
