"""docs/benchmarks.md and benchmarks/results.json agree, and the figures say in which environment they were taken."""

import json
from pathlib import Path
from typing import Any

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


def test_a_table_beside_shows_ratios_what_is_added_and_what_is_missing() -> None:
    from benchmarks import table

    rows = {
        "tiny": {"what": "small", "by hand": _cell(2.0, 1.0), "auto": _cell(2.25, 1.1), "JAX": _cell(1.5, 0.7) | {"megabytes": 3.0}, "rounds": 3},
        "other": {"by hand": _cell(1.0, 1.0), "auto": _cell(1.0, 1.0), "JAX": {"missing": "not installed"}},
        "third": {"by hand": _cell(1.0, 1.0)},
    }
    shown, told = table.beside(rows, "by hand", added=True).split("\n\n")
    assert told == "- `tiny`: small"
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()]
    assert lines[0] == ["row", "by hand", "auto", "JAX"]
    assert lines[2:] == [
        ["`tiny`", "2.00 ms", "1.10 (+0.25 ms)", "0.70 (−0.50 ms), 3 MB"],
        ["`other`", "1.00 ms", "1.00 (+0.00 ms)", "not installed"],
        ["`third`", "1.00 ms", "–", "–"],
    ]


def _cell(milliseconds: float, ratio: float) -> dict[str, float]:
    return {"milliseconds": milliseconds, "ratio": ratio}


def test_a_way_that_computes_something_else_is_not_timed() -> None:
    from benchmarks import higher_orders, peers

    makers = higher_orders.laplacian_row(2, 8)
    ways = {name: makers[name]() for name in ("by hand", "inputgrad", "nested")}
    peers.check_same(ways)
    for wrong in (peers.Way(lambda: ways["by hand"].step(), lambda: 2 * ways["by hand"].loss()), _minus(ways["by hand"])):
        with pytest.raises(RuntimeError, match="wrong is not what by hand is"):
            peers.check_same(ways | {"wrong": wrong})


def _minus(way: Any) -> Any:
    from benchmarks import peers

    return peers.Way(lambda: [-part for part in way.step()], way.loss)


def test_a_package_that_is_missing_is_a_cell(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import peers

    def absent() -> Any:
        raise ModuleNotFoundError("No module named 'deepxde'")

    assert peers.installed({"DeepXDE": absent}) == {}
    assert "inputgrad[bench]" in capsys.readouterr().out


def test_the_plots_are_those_of_the_figures() -> None:
    pytest.importorskip("matplotlib", reason="the plots are drawn with matplotlib: pip install 'inputgrad[train]'")
    from benchmarks import plots

    figures = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    axes = plots.time_plot(figures).axes[0]
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights
    assert heights == [row.get("lean", {}).get("ratio", 0.0) for row in figures["results"].values()]
