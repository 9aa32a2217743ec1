"""Public names that are imported when first used, read from the type stub beside a package's ``__init__.py``.

The stub ``__init__.pyi`` is the only list: type checkers and editors read the same lines. A line is ``from module import name as name``, or
``from package import *`` for all names of another package that has a stub.
"""

import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module


@cache
def homes(package: str) -> dict[str, str]:
    """Every public name of a package that has a stub, and the module that it comes from; in the order of ``__all__``."""
    import ast  # imported here, so that `import inputgrad` alone loads neither
    from pathlib import Path

    stub = Path(__file__).parents[1].joinpath(*package.split("."), "__init__.pyi")
    named: dict[str, str] = {}
    for line in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.ImportFrom) and line.module:
            starred = any(alias.name == "*" for alias in line.names)
            named |= homes(line.module) if starred else {alias.name: line.module for alias in line.names}
    return {name: named[name] for name in sorted(named, key=_constants_then_classes)}


def lazily(package: str, *, taken: Callable[[object], object] = lambda value: value) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """A package's ``__getattr__``, which also answers for ``__all__``, and its ``__dir__``, by its stub. taken: what is made of each name's value."""
    namespace = vars(sys.modules[package])

    def attribute(name: str) -> object:
        home = homes(package).get(name)
        if home is not None:
            value = taken(import_module(f"{home}.{name}") if home == package else getattr(import_module(home), name))
        elif name == "__all__":
            value = list(homes(package))
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value
        return value

    def names() -> list[str]:
        return [*homes(package), *(name for name in namespace if name.startswith("__"))]

    return attribute, names


def _constants_then_classes(name: str) -> tuple[bool, bool, str]:
    """The order of ``__all__``: FGSM, then GradientNorm, then gradient."""
    return not name.isupper(), not name[0].isupper(), name
