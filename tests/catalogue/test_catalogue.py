"""The catalogue as a whole: each entry says what it must, is listed by the command, can be written in a config, and stands in the shared table."""

import ast
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad import catalogue
from inputgrad.loss import InputGradientLoss
from inputgrad.terms import Term, TermSum, Weighted

ENTRIES = {entry.name: entry for entry in catalogue.entries()}
RECIPES = [entry for entry in ENTRIES.values() if entry.kind == "recipe"]
SAYING_ALL = [entry for entry in ENTRIES.values() if entry.kind != "perturbation"]
HERE = Path(__file__).parent
WITHOUT_A_ROW = {"Term", "BatchMean"}
"""No formulas of their own."""


@pytest.mark.parametrize("entry", SAYING_ALL, ids=lambda entry: entry.name)
def test_it_says_what_it_is_its_formula_its_source_and_when_not(entry: catalogue.Entry) -> None:
    assert entry.summary
    assert len(entry.summary) < 250
    assert set("=·∇‖") & set(entry.formula)
    assert re.search(r"\d{4}", entry.source), "the source names a year"
    assert entry.when_not
    assert ">>>" in entry.text, "no example that runs"


def test_every_recipe_stands_in_the_shared_table() -> None:
    """Each family's file tests its recipes by name, on every engine; a term by its own name, there or in the core's table, or in a recipe."""
    used = set()
    for path in (*HERE.glob("test_*.py"), HERE.parent / "cases.py", *Path(ig.__file__).parent.glob("recipes/[!_]*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Name, ast.Attribute)):
                used.add(node.id if isinstance(node, ast.Name) else node.attr)
    assert {entry.name for entry in SAYING_ALL} - used - WITHOUT_A_ROW == set()


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'trades'"):
        catalogue.entry("trade")


def test_the_command_lists_every_entry() -> None:
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from inputgrad.cli import app

    shown = CliRunner().invoke(app, ["terms"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    text = "".join(shown.output.split())
    assert [name for name in ENTRIES if name not in text] == []
    one = CliRunner().invoke(app, ["terms", "trades"], env={"COLUMNS": "80"})
    assert "Theoretically principled" in one.output
    assert CliRunner().invoke(app, ["terms", "trade"]).exit_code == 1
    family = CliRunner().invoke(app, ["terms", "--family", "critics"], env={"COLUMNS": "120"})
    assert "wgan_gp" in family.output
    assert "trades" not in family.output


CONFIGS = {
    "jacobian_regularization": {"weight": 0.01},
    "double_backpropagation": {},
    "trades": {"epsilon": 0.1, "steps": 2},
    "curvature": {"every": 2},
    "vat": {"epsilon": 0.5},
    "grad_align": {"epsilon": 0.1},
    "lipschitz_hinge": {"bound": 2.0},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recipe_can_be_written_in_a_training_config(name: str) -> None:
    registry = pytest.importorskip("inputgrad.study.registry")
    made = registry.TermEntry.model_validate({name: CONFIGS[name]}).make()
    assert isinstance(made, (Term, Weighted, TermSum))
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    loss = InputGradientLoss("cross_entropy", made)(model, torch.randn(4, 5), torch.arange(4) % 3)
    loss.backward()
    assert loss.isfinite()


def test_a_whole_criterion_in_a_config_replaces_the_base_loss() -> None:
    registry = pytest.importorskip("inputgrad.study.registry")
    assert isinstance(registry.TermEntry.model_validate({"mart": {"epsilon": 0.1}}).make(), ig.InputGradientLoss)


def test_every_recipe_is_a_name_in_a_config() -> None:
    registry = pytest.importorskip("inputgrad.study.registry")
    assert {entry.name for entry in RECIPES} <= registry.TERMS.keys()
    assert len(RECIPES) >= 55
