"""What every test stands on: a fixed seed, and hypothesis without a clock."""

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile("inputgrad", deadline=None, max_examples=25, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("inputgrad")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
