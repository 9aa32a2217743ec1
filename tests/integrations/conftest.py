"""One thread for tests whose models are small; and what the other libraries warn about of their own accord."""

from collections.abc import Iterator

import pytest
import torch

collect_ignore_glob = ["*_ranks.py", "with_*.py"]  # programs and helpers, which import packages that need not be installed


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
