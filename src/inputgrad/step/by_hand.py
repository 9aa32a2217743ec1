"""Whether a step that was made in full could have been made as by hand. Must not know terms and engines."""

import torch

from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.variables import is_module

FULL_PRECISION = (torch.float32, torch.float64)


def is_as_by_hand(forward: ForwardPass) -> bool:
    """Whether a pass that was made needed nothing that a plain one has not."""
    if forward.output_module is not None or forward.reentrant or forward.writes_on_inputs or not forward.placement.local or any(map(is_module, forward.wrt)):
        return False
    return not forward.made or all(z.dtype in FULL_PRECISION for z in (forward.values().output, *forward.values().variables.values()))
