import pytest
import torch

from inputgrad.derivatives import relu, substitution
from inputgrad.derivatives import twice_differentiable as pair


@pytest.fixture(autouse=True)
def _every_size(monkeypatch):
    """Small tensors too run through ours, and every test draws the same numbers."""
    monkeypatch.setattr(pair, "LEAST", 0)
    monkeypatch.setattr(relu, "LEAST", 0)
    monkeypatch.setattr(substitution, "LEAST_NUMBERS", {})
    torch.manual_seed(0)
