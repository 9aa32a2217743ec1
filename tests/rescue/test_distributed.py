"""Two gloo processes on this machine: DistributedDataParallel and fully_shard (FSDP2), against one process with both batches and no wrapper."""

from typing import Any

import pytest
import torch

from inputgrad.torch_internals import fsdp
from tests import limits
from tests.rescue.ranks import FSDP, RANKS, WRAPPERS
from tests.rescue.served import EXACT, TOLERANCE
from tests.scale.spawn import spawned

UNREDUCED = torch.__version__ < "2.13"
"""Before, fully_shard does not average the gradients of torch.func.jvp over the processes: reverse over forward has to refuse."""
SERVED = [(wrapper, engine) for wrapper in WRAPPERS for engine in TOLERANCE if not (UNREDUCED and wrapper in FSDP and engine == "reverse_over_forward")]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank found."""
    return spawned("tests.rescue.ranks", tmp_path_factory.mktemp("ranks"), RANKS, limit=limits.RESCUE)


def _rows(results: list[dict[str, Any]], wrapper: str, engine: str) -> list[dict[str, Any]]:
    """Both ranks' rows: the term alone and with a base loss, at the input and at an inner module, by call and by ``criterion.backward``."""
    rows = [row for result in results for row in result["rows"] if row["case"][:2] == [wrapper, engine]]
    assert len(rows) == RANKS * 6
    return rows


def test_plain_double_backward_raises(results: list[dict[str, Any]]) -> None:
    for result in results:
        for wrapper in FSDP:
            assert "are out of bounds for storage of size 0" in result["upstream"][wrapper]
        assert "Expected to have finished reduction in the prior iteration before starting a new one." in result["upstream"]["ddp"]


@pytest.mark.parametrize(("wrapper", "engine"), SERVED)
def test_served_on_both_ranks(results: list[dict[str, Any]], wrapper: str, engine: str) -> None:
    """Two steps each, the first of which holds the proof."""
    for row in _rows(results, wrapper, engine):
        assert row["told"] == []
        assert max(row["errors"]) < TOLERANCE[engine], row["case"]
        assert row["sharded"] == (wrapper in FSDP)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_auto_takes_an_exact_engine(results: list[dict[str, Any]], wrapper: str) -> None:
    for row in _rows(results, wrapper, "auto"):
        assert max(row["errors"]) < EXACT
        if wrapper in FSDP:
            (message,) = row["told"]
            assert f"takes '{'double_backward' if UNREDUCED else 'reverse_over_forward'}' (exact)" in message
            assert "fully_shard" in message
        else:
            assert row["told"] == []


def test_fully_shard_averages_gradients_of_forward_mode_from_torch_2_13_on(results: list[dict[str, Any]]) -> None:
    """torch.func.jvp by hand is silently wrong before that, and reverse over forward refuses it."""
    assert fsdp.works_under_transforms() == (not UNREDUCED)
    for result in results:
        assert [error > 0.1 if UNREDUCED else error < EXACT for error in result["forward_mode"]] == [True] * len(FSDP)
    for row in [row for wrapper in FSDP if UNREDUCED for row in _rows(results, wrapper, "reverse_over_forward")]:
        assert "does not average the gradients of torch.func.jvp over the processes. engine='double_backward' is exact" in row["refused"]


def test_running_statistics_move_once_a_step(results: list[dict[str, Any]]) -> None:
    assert all(result["buffers"] for result in results)
