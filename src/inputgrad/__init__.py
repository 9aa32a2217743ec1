"""Losses that depend on the network's input gradient.

The names come when they are first used, so that `inputgrad --help` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inputgrad.lazy import lazily

if TYPE_CHECKING:
    from inputgrad import adaptive, attributions, audit, heads, perturb, places, recipes
    from inputgrad.attacks import PGD, Noise, VirtualAdversarial
    from inputgrad.base_losses import OnTarget
    from inputgrad.batch import Batch, Step
    from inputgrad.carried import Carried, Foreign
    from inputgrad.errors import EngineError
    from inputgrad.fields import Field
    from inputgrad.loss import InputGradientLoss
    from inputgrad.operators import divergence, field, gradient, hessian_vector, jacobian, laplacian, output_and_gradient
    from inputgrad.paths import follow_gradient
    from inputgrad.perturb import FGSM, Perturbation
    from inputgrad.places import Given, Interpolate, Perturbed, Place
    from inputgrad.saliency_mask import SaliencyMask
    from inputgrad.sampling import Near, Uniform
    from inputgrad.schedules import lazy_adam
    from inputgrad.survey import validate
    from inputgrad.terms import (
        Adversarial,
        AdversarialPath,
        AttributionMatch,
        BatchMean,
        Consistency,
        Convex,
        Curvature,
        DenoisingScoreMatching,
        DirectionalDerivative,
        DirectionMatch,
        GiniSparsity,
        GradientAlignment,
        GradientMatch,
        GradientNorm,
        GraphPrior,
        HessianPenalty,
        JacobianMatch,
        LocalLinearity,
        MisclassificationAware,
        Monotone,
        PairwiseCosine,
        PathLength,
        Residual,
        ResidualGradient,
        SlicedEnergyMatching,
        SlicedScoreMatching,
        SpectralNorm,
        StressMatch,
        Term,
        TotalVariation,
        term,
    )

__version__ = "0.1.0"

__all__ = [
    "FGSM",
    "PGD",
    "Adversarial",
    "AdversarialPath",
    "AttributionMatch",
    "Batch",
    "BatchMean",
    "Carried",
    "Consistency",
    "Convex",
    "Curvature",
    "DenoisingScoreMatching",
    "DirectionMatch",
    "DirectionalDerivative",
    "EngineError",
    "Field",
    "Foreign",
    "GiniSparsity",
    "Given",
    "GradientAlignment",
    "GradientMatch",
    "GradientNorm",
    "GraphPrior",
    "HessianPenalty",
    "InputGradientLoss",
    "Interpolate",
    "JacobianMatch",
    "LocalLinearity",
    "MisclassificationAware",
    "Monotone",
    "Near",
    "Noise",
    "OnTarget",
    "PairwiseCosine",
    "PathLength",
    "Perturbation",
    "Perturbed",
    "Place",
    "Residual",
    "ResidualGradient",
    "SaliencyMask",
    "SlicedEnergyMatching",
    "SlicedScoreMatching",
    "SpectralNorm",
    "Step",
    "StressMatch",
    "Term",
    "TotalVariation",
    "Uniform",
    "VirtualAdversarial",
    "adaptive",
    "attributions",
    "audit",
    "divergence",
    "field",
    "follow_gradient",
    "gradient",
    "heads",
    "hessian_vector",
    "jacobian",
    "laplacian",
    "lazy_adam",
    "output_and_gradient",
    "perturb",
    "places",
    "recipes",
    "term",
    "validate",
]

_MODULES = {"adaptive", "attributions", "audit", "heads", "perturb", "places", "recipes"}
_HOMES = {
    "attacks": (
        "Noise",
        "PGD",
        "VirtualAdversarial",
    ),
    "base_losses": ("OnTarget",),
    "batch": (
        "Batch",
        "Step",
    ),
    "carried": (
        "Carried",
        "Foreign",
    ),
    "errors": ("EngineError",),
    "fields": ("Field",),
    "loss": ("InputGradientLoss",),
    "operators": (
        "divergence",
        "field",
        "gradient",
        "hessian_vector",
        "jacobian",
        "laplacian",
        "output_and_gradient",
    ),
    "paths": ("follow_gradient",),
    "perturb": (
        "FGSM",
        "Perturbation",
    ),
    "places": (
        "Given",
        "Interpolate",
        "Perturbed",
        "Place",
    ),
    "saliency_mask": ("SaliencyMask",),
    "sampling": (
        "Near",
        "Uniform",
    ),
    "schedules": ("lazy_adam",),
    "survey": ("validate",),
    "terms.adversarial": (
        "Adversarial",
        "AdversarialPath",
        "MisclassificationAware",
    ),
    "terms.attribution_priors": (
        "AttributionMatch",
        "GiniSparsity",
        "GraphPrior",
        "TotalVariation",
    ),
    "terms.base": (
        "Term",
        "term",
    ),
    "terms.batchwise": ("BatchMean",),
    "terms.consistency": ("Consistency",),
    "terms.direction_match": ("DirectionMatch",),
    "terms.diversity": ("PairwiseCosine",),
    "terms.gradient_match": ("GradientMatch",),
    "terms.gradient_norm": ("GradientNorm",),
    "terms.hessian_penalty": ("HessianPenalty",),
    "terms.jacobian": (
        "DirectionalDerivative",
        "SpectralNorm",
    ),
    "terms.jacobian_match": ("JacobianMatch",),
    "terms.linearity": (
        "Curvature",
        "GradientAlignment",
        "LocalLinearity",
    ),
    "terms.monotone": (
        "Convex",
        "Monotone",
    ),
    "terms.path_length": ("PathLength",),
    "terms.residual": (
        "Residual",
        "ResidualGradient",
    ),
    "terms.score_matching": (
        "DenoisingScoreMatching",
        "SlicedEnergyMatching",
        "SlicedScoreMatching",
    ),
    "terms.stress": ("StressMatch",),
}
_found = lazily(__name__, _HOMES, globals())


def __getattr__(name: str) -> Any:
    return import_module(f"{__name__}.{name}") if name in _MODULES else _found(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
