"""Losses that depend on the network's input gradient."""

from inputgrad import heads, perturb, places
from inputgrad.batch import Batch, Step
from inputgrad.errors import EngineError
from inputgrad.loss import InputGradientLoss
from inputgrad.operators import follow_gradient, output_and_gradient
from inputgrad.perturb import FGSM, Perturbation
from inputgrad.places import Interpolate, Perturbed, Place
from inputgrad.terms import Adversarial, DirectionMatch, GradientNorm, Term, term

__version__ = "0.1.0"

__all__ = [
    "FGSM",
    "Adversarial",
    "Batch",
    "DirectionMatch",
    "EngineError",
    "GradientNorm",
    "InputGradientLoss",
    "Interpolate",
    "Perturbation",
    "Perturbed",
    "Place",
    "Step",
    "Term",
    "follow_gradient",
    "heads",
    "output_and_gradient",
    "perturb",
    "places",
    "term",
]
