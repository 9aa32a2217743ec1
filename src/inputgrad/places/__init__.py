"""Places: where (``at=``) the input gradient is taken, if not at the batch's own inputs.

Must not know heads, terms and engines.
"""

from inputgrad.places.base import Place
from inputgrad.places.perturbed import Perturbed
from inputgrad.places.samples import Given, Interpolate
from inputgrad.places.sampling import Near, Uniform

__all__ = ["Given", "Interpolate", "Near", "Perturbed", "Place", "Uniform"]
