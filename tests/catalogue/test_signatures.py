"""One form for all recipes: the weight is first, everything else has a name."""

import inspect

import pytest
from torch import nn

import inputgrad as ig
from inputgrad import catalogue

WRAPPERS = {"causal": "residual", "self_adaptive": "term"}
"""Recipes without a weight of their own: what they change keeps its weight."""
SEVERAL_WEIGHTS = {"digs", "energy_and_forces", "neural_singular_hessian", "no_arbitrage", "siren", "universal_loss"}
"""Whole losses whose parts have a weight each, all by name."""
NAMES = {"weight", "gamma", "beta", "lambda_", "balance", "kinetic"}
"""Of the weight; those that are not "weight" are the papers' letters."""
RECIPES = sorted(entry.name for entry in catalogue.entries() if entry.kind == "recipe")


@pytest.mark.parametrize("name", RECIPES)
def test_the_weight_is_first_and_the_rest_has_names(name):
    parameters = inspect.signature(getattr(ig.recipes, name)).parameters
    positional = [key for key, parameter in parameters.items() if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert all(parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) for parameter in parameters.values())
    if name in WRAPPERS:
        assert positional == [WRAPPERS[name]]
    elif name in SEVERAL_WEIGHTS:
        assert positional == []
        assert sum(key.endswith("_weight") or key in ("calendar", "butterfly") for key in parameters) > 1
    else:
        assert len(positional) == 1
        assert positional[0] in NAMES
        assert isinstance(parameters[positional[0]].default, float)


def test_every_recipe_was_looked_at():
    assert len(RECIPES) > 70
    assert set(RECIPES) >= SEVERAL_WEIGHTS | set(WRAPPERS)


@pytest.mark.parametrize("first", ["mask", None, {0: 1}, [1.0]])
def test_what_can_be_no_weight_is_told(first):
    with pytest.raises(TypeError, match=r"a weight is a number or a callable of the step number, got .*take the weight first and other settings by name"):
        ig.recipes.right_for_the_right_reasons(first, mask="mask")
    with pytest.raises(TypeError, match="a weight is a number"):
        nn.MSELoss() + ig.GradientNorm() * first
