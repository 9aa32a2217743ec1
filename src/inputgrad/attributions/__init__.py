"""Attributions: how much each input feature contributes to a sample's score, as quantities that a term can train."""

from typing import TYPE_CHECKING

from inputgrad.lazy import lazily

if TYPE_CHECKING:
    from inputgrad.attributions.attribute_model import attribute
    from inputgrad.attributions.methods import Attribution, ExpectedGradients, InputGradient, InputTimesGradient, IntegratedGradients

__all__ = ["Attribution", "ExpectedGradients", "InputGradient", "InputTimesGradient", "IntegratedGradients", "attribute"]

_HOMES = {
    "attribute_model": ("attribute",),
    "methods": ("Attribution", "ExpectedGradients", "InputGradient", "InputTimesGradient", "IntegratedGradients"),
}
__getattr__ = lazily(__name__, _HOMES, globals())


def __dir__() -> list[str]:
    return __all__
