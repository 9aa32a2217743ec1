"""What the tests of several processes stand on: a rank that fails ends the run and is heard, though others wait for it."""

from pathlib import Path

import pytest

from tests import limits
from tests.scale.spawn import spawned


def test_a_rank_that_fails_is_heard(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"(?s)exit statuses \[None, 1\].*rank 1 has failed"):
        spawned("tests.scale.stuck", tmp_path, 2, limit=limits.COLLECTIVE)
