"""One thread, for the models are small. torch's lists take seconds to import, so the collection of doctests leaves their files alone."""

from collections.abc import Iterator

import pytest
import torch

collect_ignore = ["__main__.py", "judging.py", "modules.py", "operations.py", "page.py", "reference.py", "study.py", "wrapped.py"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _unverified() -> Iterator[None]:
    """Without the check of the first step: passes are counted here, and what terms saw is collected. tests/verification has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INPUTGRAD_VERIFY", "0")
        yield
