"""Recipes: published methods, one line each, with the papers' own settings. One file = one family.

Each is a function that returns what is added to a base loss: ``nn.CrossEntropyLoss() + recipes.right_for_the_right_reasons(mask="mask")``.
``__init__.pyi`` lists the public names.
"""

from inputgrad.lazy import lazily

__getattr__, __dir__ = lazily(__name__)
