"""Base losses: any loss of ``(output, target)``, with its own value exactly as it gives it, and one loss per sample besides.

Knows torch's losses and their `reduction`; knows no model, no term and no engine.
"""

from inputgrad.base_losses.losses import NAMED as NAMED
from inputgrad.base_losses.losses import Base as Base
from inputgrad.base_losses.losses import OnTarget as OnTarget
from inputgrad.base_losses.losses import OwnLoss as OwnLoss
from inputgrad.base_losses.losses import SumOfBases as SumOfBases
from inputgrad.base_losses.losses import per_sample as per_sample
from inputgrad.base_losses.losses import resolve as resolve
from inputgrad.base_losses.losses import sees_everything as sees_everything
from inputgrad.base_losses.losses import value as value
