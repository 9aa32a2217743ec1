"""Recipes: published methods, one line each, with the papers' own settings. One file = one family.

Each is a function that returns what is added to a base loss: ``nn.CrossEntropyLoss() + recipes.right_for_the_right_reasons(mask="mask")``.
``__init__.pyi`` lists the public names.
"""

import sys
import types
from typing import Any

from inputgrad.errors import of_every_term, suggesting
from inputgrad.lazy import lazily


def _told_of_names(value: Any) -> Any:
    """A recipe, which says which setting is meant where there is not the one that was given; its own module has the same object, so that it can be sent."""
    if not isinstance(value, types.FunctionType):
        return value
    recipe = suggesting(value, of_every_term)
    setattr(sys.modules[value.__module__], value.__name__, recipe)
    return recipe


__getattr__, __dir__ = lazily(__name__, taken=_told_of_names)
