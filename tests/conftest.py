"""What every test stands on: a fixed seed, and hypothesis without a clock."""

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile("inputgrad", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("inputgrad")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of the first step, for tests that count passes or whose engine is wrong on purpose."""
    monkeypatch.setenv("INPUTGRAD_VERIFY", "0")
