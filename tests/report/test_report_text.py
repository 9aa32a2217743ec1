"""The comparison in the terminal, the sentences both reports share, the record itself, and what the room may import."""

import ast
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_runs import HOSTILE, STRONG, WEAK, bare_run, digits_runs, hostile_run, regression_runs

import inputgrad.report
from inputgrad.report.compare import attacks_by_strength, headline, telling_epsilons
from inputgrad.report.record import RunRecord
from inputgrad.report.sentences import coincide, identical_runs, sentences
from inputgrad.report.text import WIDTH, _width, table

UNCHANGED = "“plain” and “popular recipe” are identical to the last digit"


@pytest.mark.parametrize("records", [digits_runs(), regression_runs(), [bare_run()], [hostile_run()], [hostile_run(), *digits_runs(), *regression_runs()]])
def test_table_fits_the_terminal(records: list[RunRecord]) -> None:
    lines = table(records).splitlines()
    assert max(map(_width, lines)) <= WIDTH
    assert all(line.isprintable() for line in lines)


def test_huge_figures_still_fit() -> None:
    runs = [replace(run, name="n" * 80, gradient_norms=[-1.5e-30], gradient_norms_before=[1e300], mean_cosine=-1e-9, seconds=1e7) for run in digits_runs()]
    assert max(map(_width, table(runs).splitlines())) <= WIDTH


def test_columns_are_aligned() -> None:
    lines = table(digits_runs()).splitlines()
    assert len({line.index(cell) + len(cell) for line, cell in zip(lines[4:9], ["0.973", "0.973", "0.984", "0.988", "0.970"], strict=True)}) == 1
    assert "0.988*" in lines[7]
    assert "0.970*" not in lines[8]


def test_terminal_escapes_are_made_harmless() -> None:
    text = table([replace(bare_run(), name="a\x1b[31mred\x07\nnext", loss="\x9b2J", data="\r\x00")])
    assert all(line.isprintable() for line in text.split("\n"))


def test_control_characters_are_shown_as_signs() -> None:
    text = table([replace(bare_run(), name="a\x1b[31m", loss="b\u202ec\x7f", data="d\u2066e")])
    assert "a␛[31m" in text
    assert "b⟨U+202E⟩c␡" in text
    assert "d⟨U+2066⟩e" in text


def test_wide_letters_keep_columns() -> None:
    lines = table([replace(bare_run(), name="漢字漢字"), replace(bare_run(), name="plain")]).splitlines()
    assert _width(lines[4]) == _width(lines[5])


def test_identical_runs_are_said_to_be_so() -> None:
    assert UNCHANGED in table(digits_runs())
    assert [[run.name for run in known] for known in identical_runs(digits_runs())] == [["plain", "popular recipe"]]


@pytest.mark.parametrize("field", ["test_score", "test_score_before", "gradient_norms", "gradient_norms_before", "model", "epochs", "attacks"])
def test_the_last_digit_counts(field: str) -> None:
    plain, recipe, *_ = digits_runs()
    changes = {
        "test_score": math.nextafter(recipe.test_score, 1),
        "test_score_before": 0.1,
        "gradient_norms": [*recipe.gradient_norms[:-1], math.nextafter(recipe.gradient_norms[-1], 9)],
        "gradient_norms_before": recipe.gradient_norms_before[1:],
        "model": "another",
        "epochs": [replace(recipe.epochs[0], train_score=0.0), *recipe.epochs[1:]],
        "attacks": [recipe.attacks[0], replace(recipe.attacks[1], accuracies=[0.9, 0.8, 0.7, 0.6])],
    }
    assert not coincide(plain, replace(recipe, **{field: changes[field]}))
    assert "identical" not in table([plain, replace(recipe, **{field: changes[field]})])


def test_what_was_not_measured_twice_does_not_set_runs_apart() -> None:
    plain, recipe, *_ = digits_runs()
    assert coincide(plain, replace(recipe, attacks=recipe.attacks[:1], mean_cosine=0.3))
    assert not coincide(replace(plain, mean_cosine=0.4), replace(recipe, mean_cosine=0.3))


def test_a_repeated_run_is_no_verdict_on_its_loss() -> None:
    plain = digits_runs()[0]
    (sentence, *_) = sentences([plain, replace(plain, name="again")])
    assert "have the same loss" in sentence
    assert "changed nothing" not in sentence


def test_weak_attacks_are_found_by_what_they_leave() -> None:
    runs = digits_runs()
    assert attacks_by_strength(runs) == [WEAK, STRONG]
    assert attacks_by_strength([replace(run, attacks=run.attacks[::-1]) for run in runs]) == [WEAK, STRONG]
    assert any("cover at most 67% of ε" in sentence for sentence in sentences(runs))
    assert any("“gradient norm” has an accuracy of 0.649 under it, and 0.242 under the stronger one" in sentence for sentence in sentences(runs))


def test_epsilons_that_all_share() -> None:
    runs = digits_runs()
    short = replace(runs[0], attacks=[replace(curve, epsilons=[0.1], accuracies=[0.5]) for curve in runs[0].attacks])
    other = replace(runs[0], attacks=[replace(curve, epsilons=[0.7], accuracies=[0.5]) for curve in runs[0].attacks])
    assert telling_epsilons(runs) == [0.1, 0.15]
    assert telling_epsilons([short, *runs]) == [0.1]
    assert telling_epsilons([short, other]) == [0.1, 0.7]
    assert telling_epsilons(regression_runs()) == []


def test_empty_columns_are_left_out() -> None:
    assert [column.heading for column in headline([bare_run()])] == ["accuracy", "training"]
    assert "cosine" not in [column.heading for column in headline(regression_runs())]


@pytest.mark.parametrize("record", [*digits_runs(), *regression_runs(), bare_run(), hostile_run()])
def test_record_survives_json(record: RunRecord) -> None:
    assert RunRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_no_record_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one finished run"):
        table([])


def test_text_is_not_interpreted() -> None:
    assert HOSTILE[:40] in table([hostile_run()])


def test_the_room_imports_neither_torch_nor_other_rooms() -> None:
    allowed = {"jinja2", "markupsafe", "matplotlib", "numpy"}
    paths = sorted(Path(inputgrad.report.__file__).parent.glob("**/*.py"))
    assert len(paths) > 1
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                root = name.partition(".")[0]
                assert name.startswith("inputgrad.report") or root in allowed or root in sys.stdlib_module_names, f"{path.name} imports {name}"
                assert name != "matplotlib.pyplot"
