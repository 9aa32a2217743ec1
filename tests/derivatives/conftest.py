import pytest
import torch

from inputgrad.derivatives import relu
from inputgrad.derivatives import twice_differentiable as pair


@pytest.fixture(autouse=True)
def _every_size(monkeypatch):
    """Small tensors too run through ours, and every test draws the same numbers."""
    monkeypatch.setattr(pair, "LEAST", 0)
    monkeypatch.setattr(relu, "LEAST", 0)
    torch.manual_seed(0)
