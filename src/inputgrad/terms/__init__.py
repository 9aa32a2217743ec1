"""Terms: what the loss asks of the input gradient. One file = one family."""

from typing import TYPE_CHECKING

from inputgrad.lazy import lazily

if TYPE_CHECKING:
    from inputgrad.terms.adversarial import Adversarial, AdversarialPath, MisclassificationAware
    from inputgrad.terms.attribution_priors import AttributionMatch, GiniSparsity, GraphPrior, TotalVariation
    from inputgrad.terms.base import Term, TermSum, Weighted
    from inputgrad.terms.batchwise import BatchMean
    from inputgrad.terms.consistency import Consistency
    from inputgrad.terms.direction_match import DirectionMatch
    from inputgrad.terms.diversity import PairwiseCosine
    from inputgrad.terms.function_term import FunctionTerm, term
    from inputgrad.terms.gradient_match import GradientMatch
    from inputgrad.terms.gradient_norm import GradientNorm
    from inputgrad.terms.hessian_penalty import HessianPenalty
    from inputgrad.terms.jacobian import DirectionalDerivative, SpectralNorm
    from inputgrad.terms.jacobian_match import JacobianMatch
    from inputgrad.terms.linearity import Curvature, GradientAlignment, LocalLinearity
    from inputgrad.terms.monotone import Convex, Monotone
    from inputgrad.terms.path_length import PathLength
    from inputgrad.terms.residual import Residual, ResidualGradient
    from inputgrad.terms.score_matching import DenoisingScoreMatching, SlicedEnergyMatching, SlicedScoreMatching
    from inputgrad.terms.stress import StressMatch

__all__ = [
    "Adversarial",
    "AdversarialPath",
    "AttributionMatch",
    "BatchMean",
    "Consistency",
    "Convex",
    "Curvature",
    "DenoisingScoreMatching",
    "DirectionMatch",
    "DirectionalDerivative",
    "FunctionTerm",
    "GiniSparsity",
    "GradientAlignment",
    "GradientMatch",
    "GradientNorm",
    "GraphPrior",
    "HessianPenalty",
    "JacobianMatch",
    "LocalLinearity",
    "MisclassificationAware",
    "Monotone",
    "PairwiseCosine",
    "PathLength",
    "Residual",
    "ResidualGradient",
    "SlicedEnergyMatching",
    "SlicedScoreMatching",
    "SpectralNorm",
    "StressMatch",
    "Term",
    "TermSum",
    "TotalVariation",
    "Weighted",
    "term",
]

_HOMES = {
    "adversarial": (
        "Adversarial",
        "AdversarialPath",
        "MisclassificationAware",
    ),
    "attribution_priors": (
        "AttributionMatch",
        "GiniSparsity",
        "GraphPrior",
        "TotalVariation",
    ),
    "base": ("Term", "TermSum", "Weighted"),
    "function_term": ("FunctionTerm", "term"),
    "batchwise": ("BatchMean",),
    "consistency": ("Consistency",),
    "direction_match": ("DirectionMatch",),
    "diversity": ("PairwiseCosine",),
    "gradient_match": ("GradientMatch",),
    "gradient_norm": ("GradientNorm",),
    "hessian_penalty": ("HessianPenalty",),
    "jacobian": (
        "DirectionalDerivative",
        "SpectralNorm",
    ),
    "jacobian_match": ("JacobianMatch",),
    "linearity": (
        "Curvature",
        "GradientAlignment",
        "LocalLinearity",
    ),
    "monotone": (
        "Convex",
        "Monotone",
    ),
    "path_length": ("PathLength",),
    "residual": (
        "Residual",
        "ResidualGradient",
    ),
    "score_matching": (
        "DenoisingScoreMatching",
        "SlicedEnergyMatching",
        "SlicedScoreMatching",
    ),
    "stress": ("StressMatch",),
}
__getattr__ = lazily(__name__, _HOMES, globals())

import inputgrad.loss  # noqa: E402, F401  # it registers what a base loss plus terms is (`terms.base.register_loss`)
