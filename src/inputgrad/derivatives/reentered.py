"""Functions of torch that are Python themselves: run so that the functions they call are exchanged too.

torch hands such a function to the mode as one call, and the mode is not active while it answers. So its body is run here with the mode active. Must not
know which function it is.
"""

from typing import Any

from inputgrad.derivatives.substitution import BackwardTarget, SecondDerivatives, Substitute
from inputgrad.torch_internals.function_modes import body_for_modes


def reentered(function: Any) -> Substitute:
    """A substitute that runs ``function``'s own body, in which every function that has a substitute is exchanged."""
    body = body_for_modes(function)

    def substitute(phase: BackwardTarget, *args: Any, **kwargs: Any) -> Any:
        with SecondDerivatives(phase):
            return body(*args, **kwargs)

    return substitute
