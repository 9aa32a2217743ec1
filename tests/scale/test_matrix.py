"""The matrix: engine × layout × loss, each parameter gradient against one process, the whole batch, float64, transcribed; or the documented refusal."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests import limits
from tests.scale import cells, page
from tests.scale.losses import LOSSES
from tests.scale.spawn import spawned

Found = dict[tuple[str, str, str], dict[str, Any]]


def planned(layouts: Sequence[str]) -> list[tuple[str, str]]:
    """Layouts and engines with at least one cell."""
    return [(layout, engine) for layout in layouts for engine in cells.ENGINES if cells.losses(layout, engine, quick=True)]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two processes found."""
    return spawned("tests.scale.ranks", tmp_path_factory.mktemp("ranks"), cells.RANKS, "quick", limit=limits.MATRIX)


def by_place(rows: list[dict[str, Any]]) -> Found:
    return {(row["layout"], row["engine"], row["loss"]): row for row in rows}


def check(found: Found, layout: str, engine: str) -> None:
    """Every cell that is planned is there, and as the page says: served within the engine's tolerance, or refused with a reason."""
    known = by_place(json.loads(page.FIGURES.read_text(encoding="utf-8"))["cells"])
    rows = {name: row for (where, by, name), row in found.items() if (where, by) == (layout, engine)}
    assert rows
    assert tuple(rows) == cells.losses(layout, engine, quick=True)
    for name, row in rows.items():
        assert ("refused" in row) == ("refused" in known[layout, engine, name]), row
        if "error" in row:
            assert row["error"] <= cells.tolerance(layout, engine), row
            assert row["sharded"] == layout.startswith("fsdp")  # under tensor parallelism the last layer is whole


@pytest.mark.parametrize(("layout", "engine"), planned(cells.TOGETHER))
def test_on_two_processes(together: list[dict[str, Any]], layout: str, engine: str) -> None:
    for result in together:
        check(by_place(result["rows"]), layout, engine)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", cells.ALONE)
def test_on_one_process(layout: str) -> None:
    rows = by_place(cells.cells([layout], quick=True))
    assert len(rows) >= 25
    for _, engine in planned([layout]):
        check(rows, layout, engine)


def test_auto_serves_every_cell_but_those_that_nothing_exact_serves(together: list[dict[str, Any]]) -> None:
    for result in together:
        rows = [row for row in result["rows"] if row["engine"] == "auto"]
        assert len(rows) == len(cells.TOGETHER) * len(LOSSES)
        assert all("error" in row for row in rows)


def test_a_refusal_names_the_way_out(together: list[dict[str, Any]]) -> None:
    for result in together:
        refusals = [row["refused"] for row in result["rows"] if "refused" in row]
        assert {"reverse_over_forward", "weight_as_step"} == {row["engine"] for row in result["rows"] if "refused" in row}
        assert all("engine=" in text for text in refusals), refusals


def test_the_page_is_that_of_the_figures() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.rewritten(text, json.loads(page.FIGURES.read_text(encoding="utf-8"))) == text, "run: python -m tests.scale.page"


def test_a_reference_that_is_wrong_is_seen() -> None:
    """The canary: one part in a thousand of the term's weight is far above the tolerance."""
    loss = LOSSES["gradient norm"]
    right = cells.reference(loss, [loss.batch()])
    wrong = [None if part is None else part * (1 + 1e-3) for part in right]
    assert cells.distance(wrong, right) > 1e6 * cells.EXACT


# ways of DDP and FSDP2 that are no layout


@pytest.fixture(scope="module")
def ways(together: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [result["ways"] for result in together]


@pytest.mark.parametrize("name", ["static_graph", "static_graph_of_the_gradient_alone", "find_unused_parameters", "a_last_bias_is_averaged"])
def test_ways_of_ddp(ways: list[dict[str, Any]], name: str) -> None:
    for found in ways:
        assert isinstance(found[name], dict), found[name]
        assert len(found[name]) >= 3
        for engine, error in found[name].items():
            assert error < (1e-6 if "finite_difference" in engine else 1e-10), (name, engine)


def test_a_whole_step_that_is_wrapped(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        errors = dict(found["a_whole_step_is_wrapped"])
        assert "criterion.backward was called inside the forward pass of a DistributedDataParallel" in errors.pop("at once")
        assert len(errors) == 5
        for engine, error in errors.items():
            assert error < (1e-6 if engine == "finite_difference" else 1e-10), engine


def test_a_program_fires_the_reducer_at_every_step(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        assert found["compiled_steps"]["error"] < 1e-10, found["compiled_steps"]
        assert found["compiled_steps"]["runs of the program"] >= 12


def test_a_program_refuses_a_replica_further_inside(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        right, *told = found["a_replica_further_inside"]
        assert right == "True"
        assert any("whose reducer a program bypasses; wrap the whole model" in text for text in told)


def test_one_communication_a_step(ways: list[dict[str, Any]]) -> None:
    """As many collectives as the plain step has: one reduction, buffers broadcast once."""
    for found in ways:
        plain = found["collectives"]["plain"]
        assert plain["allreduce"] == 1
        assert len(found["collectives"]) == 9
        for way, counts in found["collectives"].items():
            assert counts == plain, way


def test_draws_are_each_processes_own(ways: list[dict[str, Any]]) -> None:
    assert all(found["random_heads"] == {"apart": False, "alike": True} for found in ways)


def test_shares_of_different_sizes(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        assert found["uneven"]["weighted"] < 1e-10
        assert found["uneven"]["unweighted"] > 1e-2


def test_numbers_of_batches_that_differ(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        assert len(found["uneven_numbers_of_batches"]) == 4
        assert max(found["uneven_numbers_of_batches"].values()) < 1e-10


def test_a_schedule_is_the_same_everywhere(ways: list[dict[str, Any]]) -> None:
    assert all(found["every_third"] == [0, 3, 6] for found in ways)


def test_a_statistic_of_the_batch_is_told_once(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        (told,) = found["a_statistic_of_the_batch"]
        assert "the term _spread is a statistic of the batch, and each of the 2 processes takes it of its own share" in told


def test_a_mixed_precision_policy(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        assert found["mixed_precision_policy"].keys() == {"root", "nested"}
        for layout, errors in found["mixed_precision_policy"].items():
            assert max(errors.values()) < 2e-2, layout


def test_checkpointed_and_sharded(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        row = found["activation_checkpointing"]
        assert max(row["double_backward"], row["auto"]) < 1e-10
        assert row["finite_difference"] < 1e-6
        assert "torch.utils.checkpoint computes its region again outside of this derivative" in row["reverse_over_forward"]


def test_flat_parameters_are_for_differences(ways: list[dict[str, Any]]) -> None:
    """torch (2.13) ends the process where a functorch transform meets the parameters of FullyShardedDataParallel: refused before that."""
    for found in ways:
        row = found["flat_parameters"]
        assert "sharded parameters are taken apart again" in row["double_backward"]
        assert "cannot run a model under FullyShardedDataParallel" in row["reverse_over_forward"]
        for engine in ("finite_difference", "auto", "compiled"):
            assert row[engine][0] < 1e-10, engine
        assert any("engine='auto' takes 'finite_difference'" in text for text in row["auto"][1:])
        assert any("torch ends the process where its flat parameters are traced" in text for text in row["compiled"][1:])


def test_clipping_on_several_processes(ways: list[dict[str, Any]]) -> None:
    for found in ways:
        assert len(found["clipped"]) == 16
        for way, errors in found["clipped"].items():
            assert max(errors) < (1e-6 if "finite_difference" in way else 1e-10), way
