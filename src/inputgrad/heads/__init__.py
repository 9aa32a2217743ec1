"""Heads: which scalar of a sample's output is differentiated with respect to the input (``of=``).

A head maps the output ``[N, ...]`` and the target to one score per sample, ``[N]``, or to K rows of scores, ``[N, K]``. It knows no model, no gradient
and no engine. The head ``"loss"`` is the sample's own base loss; the criterion, which has the base loss, fills it in.
"""

from inputgrad.heads.base import NAMED as NAMED
from inputgrad.heads.base import CallableHead as CallableHead
from inputgrad.heads.base import EachOutput as EachOutput
from inputgrad.heads.base import FixedProjection as FixedProjection
from inputgrad.heads.base import Head as Head
from inputgrad.heads.base import LabelOutput as LabelOutput
from inputgrad.heads.base import LogProbabilities as LogProbabilities
from inputgrad.heads.base import Of as Of
from inputgrad.heads.base import OneOutput as OneOutput
from inputgrad.heads.base import RandomProjection as RandomProjection
from inputgrad.heads.base import Score as Score
from inputgrad.heads.base import SumOfOutputs as SumOfOutputs
from inputgrad.heads.base import resolve as resolve
from inputgrad.heads.parts import Inner as Inner
from inputgrad.heads.parts import Output as Output


def __dir__() -> list[str]:
    """The heads, for tab completion; what the library itself takes from here (``Score``, ``resolve``, …) is left out."""
    return sorted(name for name, value in globals().items() if isinstance(value, type) and issubclass(value, Head))
