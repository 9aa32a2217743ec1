"""docs/benchmarks.md and benchmarks/results.json agree, and the figures say in which environment they were taken."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)


def test_the_page_is_that_of_the_figures() -> None:
    from benchmarks import page

    text = page.PAGE.read_text(encoding="utf-8")
    assert page.rewritten(text, json.loads(page.RESULTS.read_text())) == text, "run: python -m benchmarks.page"
    goals = page.GOALS.read_text(encoding="utf-8")
    assert page.rewritten_goals(goals, json.loads(page.RESULTS.read_text())) == goals, "run: python -m benchmarks.page"


def test_a_missing_marker_is_told() -> None:
    from benchmarks import page

    with pytest.raises(ValueError, match="bench: environment"):
        page.rewritten("no markers", json.loads(page.RESULTS.read_text()))


def test_the_figures_name_their_environment_and_no_machine() -> None:
    text = (ROOT / "benchmarks" / "results.json").read_text()
    figures = json.loads(text)
    assert {"torch", "python", "threads", "processor", "date"} <= set(figures["environment"])
    assert not [name for name in ("work", "tmp", "root", "home") if f"/{name}/" in text]


def test_every_figure_has_an_error_beside_it() -> None:
    from benchmarks.table import EXACT

    figures = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert figures["results"]
    assert figures["scaling"]
    for workload, row in (figures["results"] | figures["scaling"]).items():
        measured = [way for way in (*EXACT, "central", "one_sided") if "ratio" in row.get(way, {})]
        assert measured, workload
        for way in measured:
            assert row[way]["error"] < (1e-2 if way in EXACT else 1e-1), (workload, way)


def test_the_floor_of_an_mlp_is_its_products_counted_by_hand() -> None:
    """Plain: forward and weight gradients, and input gradients of all layers but the first. With the term: three of five passes more."""
    from benchmarks import floors, goals
    from benchmarks.workloads import classifier, images, mlp

    layers = [784 * 32, 32 * 32, 32 * 10]
    plain = 2 * sum(layers) + sum(layers[1:])
    exact = 5 * sum(layers) + sum(layers[1:])
    assert floors.floor(classifier("small", lambda: mlp(32), images(4, 784))) == pytest.approx(exact / plain)
    assert goals.goal("mlp", {"mlp": 2.0}) == pytest.approx(2.1)
    assert goals.goal("critic_conv", {"critic_conv": 2.0}) == goals.EARLIER["critic_conv"]
    assert goals.goal("mlp", {}) is None


def test_the_plots_are_those_of_the_figures() -> None:
    pytest.importorskip("matplotlib", reason="the plots are drawn with matplotlib: pip install 'inputgrad[train]'")
    from benchmarks import plots

    figures = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    axes = plots.time_plot(figures).axes[0]
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights
    assert heights == [row.get("lean", {}).get("ratio", 0.0) for row in figures["results"].values()]
