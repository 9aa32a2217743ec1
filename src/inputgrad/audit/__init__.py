"""The audit: what a training script does wrong with input gradients, with file and line. Watches a run; changes nothing of it.

The names come when they are first used, so that a test run that loads the audit's fixture needs no torch. The module may be called: ``with inputgrad.audit():``
is the block of the same name, whether the name stands for the module or for the function in it.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inputgrad.audit.finding import Finding
    from inputgrad.audit.observations.run_facts import Facts
    from inputgrad.audit.session import audit

__all__ = ["Facts", "Finding", "audit"]

_HOMES = {"Facts": "observations.run_facts", "Finding": "finding", "audit": "session"}


class _Callable(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.audit(*args, **kwargs)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


sys.modules[__name__].__class__ = _Callable
