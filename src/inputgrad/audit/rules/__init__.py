"""The rules by family, one file each: they read what a run has shown and know neither the probes nor a report."""

import pkgutil
from importlib import import_module


def load() -> None:
    """Import every family, which enters its rules in the register."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
