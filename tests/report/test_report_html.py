"""The HTML report: one file that loads nothing, in which no text of a user's becomes anything but text."""

import base64
import math
import re
import sys
from dataclasses import replace
from functools import cache

import matplotlib
import pytest
from made_up_runs import HOSTILE, SIZE, bare_run, digits_runs, hostile_run, regression_runs
from page import Page

from inputgrad.report.html import render
from inputgrad.report.record import Epoch, RunRecord
from inputgrad.report.sections import differing_settings, placed


def diverged_run() -> RunRecord:
    run = digits_runs()[2]
    epochs = [replace(epoch, loss=math.nan, parts={"base": math.nan, "gradient_norm": math.inf}, test_score=math.nan) for epoch in run.epochs]
    norms = [math.nan] * 5 + [math.inf] * 5
    return replace(run, epochs=epochs, test_score=math.nan, gradient_norms=norms, mean_cosine=math.nan)


CASES = {
    "digits": digits_runs(),
    "regression": regression_runs(),
    "single": digits_runs()[3:4],
    "bare": [bare_run()],
    "mixed": [*digits_runs(), *regression_runs(), bare_run(), bare_run()],
    "hostile": [hostile_run(), *digits_runs()],
    "diverged": [diverged_run(), digits_runs()[0]],
    "all diverged": [diverged_run()],
}


@cache
def page_of(name: str) -> str:
    return render(CASES[name])


@pytest.fixture(params=CASES)
def source(request: pytest.FixtureRequest) -> str:
    return page_of(request.param)


def test_nothing_needs_the_network(source: str) -> None:
    page = Page(source)
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form", "image", "foreignobject"}, tag
        for name in {"src", "href", "xlink:href", "srcset", "data", "poster", "action"} & attributes.keys():
            assert attributes[name].startswith(("data:image/png;base64,", "#")), (tag, name, attributes[name])
        for name, value in attributes.items():
            assert name in {"aria-label", "alt"} or not re.search(r"url\(\s*['\"]?(?!#)", value), (tag, name, value)
    styles = "".join(text for tag, text in page.texts if tag == "style")
    assert styles.strip()
    assert "url(" not in styles
    assert "@import" not in styles
    assert {"default-src 'none'; style-src 'unsafe-inline'; img-src data:"} <= {meta.get("content") for meta in page.all("meta")}


def test_no_event_handlers_and_valid_references(source: str) -> None:
    page = Page(source)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    own = [value for _, attributes in page.elements for name, value in attributes.items() if name not in {"aria-label", "alt"}]
    assert {target for value in own for target in re.findall(r"(?:^|url\()#([\w-]+)", value)} <= set(ids)


def test_accessible(source: str) -> None:
    page = Page(source)
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("th")
    assert all(image["alt"] for image in page.all("img"))
    assert all(drawing.get("aria-hidden") or (drawing["role"] == "img" and drawing["aria-label"]) for drawing in page.all("svg"))
    assert all(header.get("scope") for header in page.all("th"))
    assert len(page.all("h1")) == 1


def test_there_are_pictures_drawings_and_references() -> None:
    """Not on every page; the tests above would also pass if none were understood."""
    pages = [Page(source) for source in map(page_of, CASES)]
    assert any(page.all("img") for page in pages)
    assert any(drawing.get("role") == "img" for page in pages for drawing in page.all("svg"))
    assert any(value.startswith("#") for page in pages for _, attributes in page.elements for value in attributes.values())


def test_identical_bytes() -> None:
    for name, records in CASES.items():
        assert render([RunRecord.from_json(record.to_json()) for record in records]) == page_of(name), name


def test_users_text_is_shown_as_text_everywhere() -> None:
    run = hostile_run()
    page = Page(render([run]))
    text = page.text()
    assert text.count(HOSTILE) >= 30
    assert run.name in text
    assert not {"b", "script"} & {tag for tag, _ in page.elements}
    assert sum(HOSTILE in attributes.get("alt", "") for attributes in page.all("img")) >= 4


def test_control_characters_are_shown_as_signs() -> None:
    """A terminal would obey the first, and a reader would take the second's line for another one."""
    page = render([replace(run, name="a\x1b[31m", title="b\u202ec", loss="d\u2066e\x07") for run in digits_runs()[:2]])
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]", page)
    for shown in ("a␛[31m", "b⟨U+202E⟩c", "d⟨U+2066⟩e␇"):
        assert shown in page


def test_charts_hold_no_text_of_users() -> None:
    """So no name can be taken for mathtext, run out of the picture or lie upon another."""
    page = Page(page_of("hostile"))
    drawn = {text.strip() for tag, text in page.texts if tag == "text"} - {""}
    assert {text for text in drawn if not re.fullmatch(r"−?[\d.]+(e[+−]\d+)?", text)} == {"epoch", "ε"}


def test_charts_follow_the_theme() -> None:
    colours = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"<style>.*?</style>", "", page_of("digits"), flags=re.S)))
    assert colours <= {"#ffffff"}, "a colour that the page does not choose"
    assert "var(--run-0)" in page_of("digits")
    assert "var(--run-4)" in page_of("digits")


def test_size() -> None:
    assert 100_000 < len(page_of("digits").encode()) < 400_000


def test_headline_figures_and_best_values() -> None:
    source = page_of("digits")
    for figure in ("0.973", "0.503", "0.149", "0.988", "0.685", "0.934", "33.1 s"):
        assert f">{figure}<" in source
    assert re.findall(r'class="(?:first )?best">([\d.]+)<', source) == ["0.988", "0.930", "0.778", "0.885", "0.685"]
    assert "LinfPGD(steps=40, rel_stepsize=0.1)" in Page(source).text()


def test_regression_has_neither_attacks_nor_pictures() -> None:
    page = Page(page_of("regression"))
    assert "mean squared error" in page.text()
    assert "attack" not in page.text()
    assert not page.all("img")
    assert re.findall(r'class="(?:first )?best">([\d.]+)<', page_of("regression")) == ["2874.900"]


def test_runs_on_other_data_are_not_compared() -> None:
    page = Page(page_of("mixed"))
    assert sum(attributes.get("class") == "figures" for attributes in page.all("table")) == 3


def test_single_run_has_no_best_value() -> None:
    assert 'best"' not in page_of("single")
    assert CASES["single"][0].title in Page(page_of("single")).text()


def test_diverged_run_is_named() -> None:
    assert "“gradient norm” ended with figures that are not finite" in Page(page_of("diverged")).text()


def test_pictures_are_small_pngs_without_smoothing() -> None:
    images = [image["src"].removeprefix("data:image/png;base64,") for image in Page(page_of("digits")).all("img")]
    assert len(images) == 1 + 5 + 5 * 3
    header = base64.b64decode(images[0])[:24]
    assert header.startswith(b"\x89PNG")
    assert (int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")) == (10 * (SIZE + 1), SIZE + 1)
    assert "image-rendering: pixelated" in page_of("digits")


def test_long_path_is_shown_in_part() -> None:
    run = digits_runs()[0]
    assert run.path is not None
    long = replace(run.path, images=[images[:1] * 50 for images in run.path.images], scores=[list(map(float, range(50))) for _ in run.path.scores])
    shown = re.findall(r'class="caption">([\d.]+)<', render([replace(run, path=long)]))[:8]
    assert shown == [f"{step:.3f}" for step in (0, 7, 14, 21, 28, 35, 42, 49)]


def test_zero_gradients_and_one_epoch() -> None:
    run = digits_runs()[0]
    assert run.pictures is not None
    blank = replace(run.pictures, gradients=[[[0.0] * SIZE] * SIZE] * 10)
    page = Page(render([replace(run, pictures=blank, gradient_norms=[0.0] * 9, epochs=[Epoch(1, 0.5, {"base": 0.5}, 0.9, 0.9, 1.0)])]))
    assert "±0.000" in page.text()


def test_many_runs_have_their_own_mark() -> None:
    runs = [replace(digits_runs()[0], name=f"run {index}", test_score=index / 20) for index in range(20)]
    marks = {(run.colour, run.marker) for run in placed([runs])[0]}
    assert len(marks) == 20
    Page(render(runs))


def test_settings_that_differ() -> None:
    rows = differing_settings(placed([digits_runs()])[0])
    assert rows == [("loss.terms", ["[]", "[]", '["gradient_norm"]', '["adversarial"]', '["direction_match"]'])]


def test_no_record_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one finished run"):
        render([])


def test_lone_surrogates_do_not_break_the_file() -> None:
    render([replace(bare_run(), name="bad \ud800 name")]).encode("utf-8")


def test_users_matplotlib_settings_are_neither_used_nor_changed() -> None:
    with matplotlib.rc_context({"font.size": 40.0, "axes.grid": False, "svg.hashsalt": "other"}):
        before = dict(matplotlib.rcParams)
        assert render(CASES["regression"]) == page_of("regression")
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for name in [name for name in sys.modules if name.startswith("inputgrad.report.") or name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}.* is not installed: pip install 'inputgrad\[train\]'"):
        __import__("inputgrad.report.html")
