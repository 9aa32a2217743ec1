"""Losses that depend on the network's input gradient.

The names come when they are first used, so that `inputgrad --help` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inputgrad import heads, perturb, places, recipes
    from inputgrad.base_losses import OnTarget
    from inputgrad.batch import Batch, Step
    from inputgrad.errors import EngineError
    from inputgrad.loss import InputGradientLoss
    from inputgrad.operators import follow_gradient, output_and_gradient
    from inputgrad.perturb import FGSM, Perturbation
    from inputgrad.places import Given, Interpolate, Perturbed, Place
    from inputgrad.schedules import lazy_adam
    from inputgrad.survey import validate
    from inputgrad.terms import Adversarial, DirectionMatch, GradientNorm, Term, term

__version__ = "0.1.0"

__all__ = [
    "FGSM",
    "Adversarial",
    "Batch",
    "DirectionMatch",
    "EngineError",
    "Given",
    "GradientNorm",
    "InputGradientLoss",
    "Interpolate",
    "OnTarget",
    "Perturbation",
    "Perturbed",
    "Place",
    "Step",
    "Term",
    "follow_gradient",
    "heads",
    "lazy_adam",
    "output_and_gradient",
    "perturb",
    "places",
    "recipes",
    "term",
    "validate",
]

_MODULES = {"heads", "perturb", "places", "recipes"}
_HOMES = {
    "base_losses": ("OnTarget",),
    "batch": ("Batch", "Step"),
    "errors": ("EngineError",),
    "loss": ("InputGradientLoss",),
    "operators": ("follow_gradient", "output_and_gradient"),
    "perturb": ("FGSM", "Perturbation"),
    "places": ("Given", "Interpolate", "Perturbed", "Place"),
    "schedules": ("lazy_adam",),
    "survey": ("validate",),
    "terms": ("Adversarial", "DirectionMatch", "GradientNorm", "Term", "term"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
