"""One thread: the models are small. The first step is not verified: these tests count its passes, and some of their engines are wrong on purpose."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _unverified(unverified: None) -> None:
    """See `unverified`."""
