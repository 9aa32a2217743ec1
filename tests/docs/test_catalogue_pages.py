"""The catalogue's pages: every recipe has an entry with all its parts, its complete call runs and trains, and its formula is well-formed TeX."""

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import inputgrad as ig
from inputgrad import catalogue

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = [entry for entry in catalogue.entries() if entry.kind == "recipe"]


@pytest.fixture(scope="module")
def pages() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(DOCS))
    try:
        from extensions import catalogue_pages, listings

        yield SimpleNamespace(**{**vars(listings), **vars(catalogue_pages)})
    finally:
        sys.path.remove(str(DOCS))


def test_every_recipe_has_a_family_and_a_call(pages: Any) -> None:
    assert sorted(pages.homes()) == sorted(pages.calls.CALLS) == sorted(entry.name for entry in RECIPES)
    assert all(pages.recipes().values()), "a family without recipes"


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_the_complete_call_runs_and_trains(pages: Any, entry: catalogue.Entry) -> None:
    torch.manual_seed(0)
    code = pages.calls.call(entry.name)
    assert f"ig.recipes.{entry.name}(" in code
    space: dict[str, Any] = {"__name__": "page"}
    exec(code, space)
    assert isinstance(space["model"], nn.Module)
    gradients = [parameter.grad for parameter in space["model"].parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_the_formula_is_tex(pages: Any, entry: catalogue.Entry) -> None:
    for line in pages.formulas.lines(entry.formula):
        bare = line.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}")
        assert line.count(r"\left") - line.count(r"\leftarrow") == line.count(r"\right")
        assert not re.search(r"_\}|\^\}|[²³ᵀ₁₂\u0300-\u036f‖½]", line), "a sign that TeX does not know in this place"
        assert not re.search(r"\^\{[^{}]*\}\^|_\{[^{}]*\}_", line), "two exponents or two indices in a row"


def test_formulas_as_tex(pages: Any) -> None:
    assert pages.formulas.tex("‖∂D(x̂_n)/∂x̂_n‖²₂") == r"\left\Vert \frac{\partial D(\hat{x}_{n})}{\partial \hat{x}_{n}}\right\Vert ^{2}_{2}"
    assert pages.formulas.tex("(∂u/∂x − f(x))²") == r"\left(\frac{\partial u}{\partial x} - f(x)\right)^{2}"
    assert pages.formulas.tex("‖f(x)‖ h_δ") == r"\Vert f(x)\Vert  h_{\delta }"
    assert pages.formulas.tex("max_{k≠y} p_k") == r"\operatorname{max}_{k\ne y} p_{k}"
    assert pages.formulas.tex("A_nd p_nc") == "A_{nd} p_{nc}"
    assert pages.formulas.tex("with its sign, each map") == r"\text{ with its sign}, \text{ each map }"
    assert pages.formulas.tex("v ∈ {−1, 1}^D") == r"v \in  \{-1, 1\}^{D}"


def test_an_entry_has_its_parts(pages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["extensions.catalogue_pages"], "cost", lambda name: "2.0")
    homes = pages.homes()
    for entry in RECIPES:
        text = "\n\n".join(pages.section(entry, homes))
        parts = [
            f"## `{entry.name}`",
            "```{math}",
            f"ig.recipes.{entry.name}(",
            "**Parameters**",
            "**A complete call**",
            "**When not:**",
            "**Cost:**",
            "**Source:**",
        ]
        places = [text.find(part) for part in parts]
        assert -1 not in places, entry.name
        assert places == sorted(places), entry.name
        for name in inspect.signature(entry.made_of).parameters:
            assert f"**`{name}`** (" in text
        assert "inspect._empty" not in text
        for link in re.findall(r"\]\((\w*(?:\.md)?#\w+)\)", text):
            page, _, anchor = link.partition("#")
            assert homes[anchor] == (page.removesuffix(".md") or homes[entry.name])


def test_helpers_of_recipes_are_no_methods(pages: Any) -> None:
    shown = pages.overview()
    assert "`wgan_gp`" in shown
    assert not re.search(r"`(Half|Part|Towards|Differentials|MemberLosses|whole_target)`", shown)


def test_the_cost_counts_the_passes(pages: Any) -> None:
    """Double backpropagation takes at least the plain step and a second backward pass, and the exact Jacobian more than one projection."""
    assert 1.5 < float(pages.cost("double_backpropagation")) < 4
    assert float(pages.cost("jacobian_spectral_norm")) > float(pages.cost("jacobian_regularization"))


def test_names_of_recipes_and_terms_become_links(pages: Any) -> None:
    wanted = "take [`r1`](catalogue/critics.md#r1), {py:obj}`GradientNorm <inputgrad.GradientNorm>` or `nothing`"
    assert pages.linked("take `r1`, `GradientNorm` or `nothing`") == wanted


def test_a_docstring_says_what_each_parameter_and_symbol_is(pages: Any) -> None:
    entries = {entry.name: entry for entry in RECIPES}
    parameters, symbols, remarks = pages.definitions.of(entries["wgan_gp"])
    assert parameters["weight"] == "λ, 10 as published."
    assert parameters["center"].startswith("the wanted norm, 1 as published")
    assert symbols == {"D": "the critic, the model.", "x": "real samples, the inputs."}
    assert remarks.startswith("ε multiplies the real samples")


@pytest.mark.parametrize("entry", RECIPES, ids=lambda entry: entry.name)
def test_every_parameter_has_a_text(pages: Any, entry: catalogue.Entry) -> None:
    parameters, symbols, remarks = pages.definitions.of(entry)
    silent = [name for name in inspect.signature(entry.made_of).parameters if not re.search(r"[a-z]{3}", parameters.get(name, ""))]
    assert not silent, "add a line `name: what it is` to the docstring"
    used = entry.formula + " ".join([*parameters.values(), remarks])
    for letter in (letter for letters in symbols for letter in letters.split(", ")):
        assert re.findall(r"\w+", letter.partition("_")[0])[0] in used, f"{letter} is explained, but nothing uses it: a sentence with a colon?"


def test_a_parameter_without_a_text_and_a_reference_to_nothing_are_seen(pages: Any) -> None:
    entry = next(entry for entry in RECIPES if entry.name == "r1")
    silent = dataclasses.replace(entry, text=entry.text.replace("    half:", "    other:").replace("\nhalf:", "\nother:"), name="silent")
    assert "half" not in pages.definitions.of(silent)[0]
    lost = dataclasses.replace(entry, text="R1.\n\n    γ = 1\n\nhalf: as in `duq`.", name="lost")
    with pytest.raises(ValueError, match="duq says nothing of half"):
        pages.definitions.of(lost)


def test_what_is_said_elsewhere_is_shown(pages: Any) -> None:
    said = {entry.name: pages.definitions.of(entry)[0] for entry in RECIPES}
    assert said["lazy_r1"]["half"] == said["r1"]["half"]
    assert said["r2"]["fake"].startswith(said["wgan_gp"]["fake"].rstrip("."))
    assert "of any number, and with labels of their own" in said["r2"]["fake"]


def test_parameters_are_named_by_what_they_take(pages: Any) -> None:
    lines = {entry.name: "\n".join(pages.parameters(entry)) for entry in RECIPES}
    assert "**`mask`** (tensor, key of the target, or callable of the batch, or `None`" in lines["force_matching"]
    assert "**`wrt`** (position or name of an input; default `0`)" in lines["wgan_gp"]
    assert "default the whole target" in lines["wgan_gp"]
    assert not re.search(r", ?\.$|: \.$|\.\.$|; \.$", "\n".join(lines.values()), re.MULTILINE)


def further(pages: Any) -> dict[str, list[tuple[str, str]]]:
    return dict(pages.further_calls.FURTHER)


def test_a_second_example_is_on_the_page(pages: Any) -> None:
    """A docstring with two examples, or one that speaks of a second, has a further call; and each is shown."""
    for entry in RECIPES:
        several = len(re.findall(r"(?:^|\n\n) *>>>", entry.text)) > 1 or re.search(r"second example|first example", entry.text)
        assert not several or entry.name in further(pages), entry.name
    shown = "\n".join(pages.section(next(entry for entry in RECIPES if entry.name == "lazy_r1"), pages.homes()))
    assert all(code.strip() in shown for _, code in further(pages)["lazy_r1"])


def test_the_further_calls_run_and_train(pages: Any) -> None:
    for name, others in further(pages).items():
        for title, code in others:
            torch.manual_seed(0)
            space: dict[str, Any] = {"__name__": "page"}
            exec(code, space)
            learning = [value for value in space.values() if isinstance(value, nn.Module) and not isinstance(value, ig.InputGradientLoss)]
            gradients = [parameter.grad for module in learning for parameter in module.parameters() if parameter.grad is not None]
            assert any(gradient.any() for gradient in gradients), (name, title)
            assert all(gradient.isfinite().all() for gradient in gradients), (name, title)


def test_one_batch_of_both_is_the_pair_of_penalties() -> None:
    """What r3gan's second example says."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 1))
    real, fake = torch.randn(6, 8), torch.randn(6, 8)
    pair = nn.functional.softplus(critic(fake) - critic(real)).mean() + ig.InputGradientLoss(None, ig.recipes.r3gan())(critic, real, fake)
    one = ig.InputGradientLoss(ig.recipes.relativistic_pairing, 1.0 * ig.GradientNorm(power=2))(critic, torch.cat([real, fake]))
    torch.testing.assert_close(one, pair)


def test_the_command_prints_what_the_catalogue_says_it_does(pages: Any) -> None:
    """Formula, parameters, source and examples, as `docs/catalogue.md` has it."""
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from inputgrad.cli import app

    assert "`inputgrad terms NAME` prints an entry's docstring: the formula, the parameters, the source and short examples" in re.sub(
        r"\s+", " ", (DOCS / "catalogue.md").read_text(encoding="utf-8")
    )
    printed = CliRunner().invoke(app, ["terms", "r3gan"]).output
    entry = next(entry for entry in RECIPES if entry.name == "r3gan")
    for said in (entry.formula, "half: as in `r1`", "Source: Huang", ">>> criterion = ig.InputGradientLoss(relativistic_pairing"):
        assert said in printed
