"""Losses that depend on the network's input gradient.

The names come when they are first used, so that `inputgrad --help` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from inputgrad.lazy import lazily

if TYPE_CHECKING:
    from inputgrad import adaptive, attributions, audit, heads, perturb, places, recipes
    from inputgrad.base_losses import OnTarget
    from inputgrad.batch import Batch, Step
    from inputgrad.diagnosis.validation import validate
    from inputgrad.errors import EngineError
    from inputgrad.loss import InputGradientLoss
    from inputgrad.operators.fields import Field
    from inputgrad.operators.functions import divergence, field, gradient, hessian_vector, jacobian, laplacian, output_and_gradient
    from inputgrad.perturbations.attacks import PGD, Noise, VirtualAdversarial
    from inputgrad.perturbations.base import Perturbation
    from inputgrad.perturbations.fgsm import FGSM
    from inputgrad.perturbations.gradient_paths import follow_gradient
    from inputgrad.perturbations.persistent import Carried, ExternalAttack, Foreign, PersistentPerturbation
    from inputgrad.perturbations.saliency_mask import SaliencyMask
    from inputgrad.places.base import Place
    from inputgrad.places.perturbed import Perturbed
    from inputgrad.places.samples import Given, Interpolate
    from inputgrad.places.sampling import Near, Uniform
    from inputgrad.step.schedules import lazy_adam
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
    "ExternalAttack",
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
    "PersistentPerturbation",
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
    "base_losses": ("OnTarget",),
    "batch": ("Batch", "Step"),
    "diagnosis.validation": ("validate",),
    "errors": ("EngineError",),
    "loss": ("InputGradientLoss",),
    "operators.fields": ("Field",),
    "operators.functions": ("divergence", "field", "gradient", "hessian_vector", "jacobian", "laplacian", "output_and_gradient"),
    "perturbations.attacks": ("Noise", "PGD", "VirtualAdversarial"),
    "perturbations.base": ("Perturbation",),
    "perturbations.fgsm": ("FGSM",),
    "perturbations.gradient_paths": ("follow_gradient",),
    "perturbations.persistent": ("Carried", "ExternalAttack", "Foreign", "PersistentPerturbation"),
    "perturbations.saliency_mask": ("SaliencyMask",),
    "places.base": ("Place",),
    "places.perturbed": ("Perturbed",),
    "places.samples": ("Given", "Interpolate"),
    "places.sampling": ("Near", "Uniform"),
    "step.schedules": ("lazy_adam",),
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
    "terms.base": ("Term",),
    "terms.function_term": ("term",),
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
