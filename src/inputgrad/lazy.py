"""Names of a package that come when they are first used, so that what nobody asked for is not imported."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, homes: Mapping[str, tuple[str, ...]], namespace: dict[str, Any]) -> Callable[[str], Any]:
    """A module's ``__getattr__``: each name from the submodule that ``homes`` says it lives in, remembered in ``namespace``."""
    home_of = {name: home for home, names in homes.items() for name in names}

    def found(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        return value

    return found
