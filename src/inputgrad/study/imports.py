"""Objects of the user's own, by ``"package.module:name"``: models, criteria, terms, heads, directions.

Knows Python's import system; knows nothing of what the object is for. A reference is code: `check_form` looks at its letters alone, `load` imports.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from inputgrad.errors import nearest
from inputgrad.study.problems import raised

_nothing_imported: ContextVar[bool] = ContextVar("_nothing_imported", default=False)


class NotLoadedError(Exception):
    """Raised where an object of the user's own is asked for while a config is only being checked."""


@contextmanager
def nothing_imported() -> Iterator[None]:
    """In this block `load` raises `NotLoadedError`: configs are checked without running what they name."""
    token = _nothing_imported.set(True)
    try:
        yield
    finally:
        _nothing_imported.reset(token)


def check_form(reference: str) -> tuple[str, str]:
    """Module and name of ``"package.module:name"`` (``name`` may be dotted). Imports nothing. Raises `ValueError`."""
    module, colon, name = reference.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module.split("."), *name.split(".")]):
        raise ValueError(f"{reference!r} is not a reference to an object: expected 'package.module:name'")
    return module, name


def load(reference: str) -> Any:
    """The object that ``"package.module:name"`` names; modules of the current directory are found too.

    Raises `ValueError` which says whether the form, the module or the name is wrong.
    """
    module_name, name = check_form(reference)
    if _nothing_imported.get():
        raise NotLoadedError(reference)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found = _module(module_name, reference)
    for part in name.split("."):
        if not hasattr(found, part):
            public = [item for item in vars(found) if not item.startswith("_")] if hasattr(found, "__dict__") else []
            raise ValueError(f"{reference!r}: {module_name} has no {part!r}; {nearest(part, public)}")
        found = getattr(found, part)
    return found


def load_callable(reference: str) -> Any:
    """As `load`; raises `ValueError` where the object cannot be called."""
    found = load(reference)
    if not callable(found):
        raise ValueError(f"{reference!r} is a {type(found).__name__}, expected something that can be called")
    return found


def _module(name: str, reference: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = f"there is no module {error.name!r}"
        raise ValueError(f"{reference!r}: {missing}; it must be installed or lie in the current directory") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{reference!r}: importing {name} raised {raised(error)}") from error
