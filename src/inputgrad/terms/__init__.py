"""Terms: what the loss asks of the input gradient. One file = one family."""

from inputgrad.terms.adversarial import Adversarial
from inputgrad.terms.base import FunctionTerm, Term, TermSum, Weighted, term
from inputgrad.terms.direction_match import DirectionMatch
from inputgrad.terms.gradient_norm import GradientNorm

__all__ = ["Adversarial", "DirectionMatch", "FunctionTerm", "GradientNorm", "Term", "TermSum", "Weighted", "term"]
