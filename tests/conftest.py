"""What every test stands on: a fixed seed, hypothesis without a clock, and the choice of cases from large tables."""

import gc

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.sampling import is_one_in

settings.register_profile("inputgrad", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("inputgrad")


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out the studies
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test that is marked ``one_in(count)``, those not chosen become studies."""
    for item in items:
        if any(not is_one_in(mark.args[0], item.name) for mark in item.iter_markers("one_in")):
            item.add_marker("study")


def pytest_collection_finish() -> None:
    """What is there by now stays: no collection looks through torch's modules and all the cases again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.default_generator.manual_seed(0)  # torch.manual_seed takes a millisecond here, for devices that are not there


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of the first step, for tests that count passes or whose engine is wrong on purpose."""
    monkeypatch.setenv("INPUTGRAD_VERIFY", "0")


@pytest.fixture
def mostly_unverified(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of the first step for nine cases in ten of `make test`, in tables of right models. tests/verification is about that check."""
    if request.node.get_closest_marker("study") is None and not is_one_in(10, f"verified {request.node.name}"):
        monkeypatch.setenv("INPUTGRAD_VERIFY", "0")
