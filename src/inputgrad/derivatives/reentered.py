"""Functions of torch that are Python themselves: run so that the functions they call are exchanged too.

torch hands such a function to the mode as one call, and the mode is not active while it answers. Its body is run again here with the mode active, as a
copy of the function that does not hand itself over. Must not know which function it is.
"""

from types import FunctionType
from typing import Any

from inputgrad.derivatives.substitution import BackwardTarget, SecondDerivatives, Substitute

_HANDING_OVER = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


def reentered(function: Any) -> Substitute:
    """A substitute that runs ``function``'s own body, in which every function that has a substitute is exchanged."""
    body = FunctionType(
        function.__code__, {**function.__globals__, **dict.fromkeys(_HANDING_OVER, _never)}, function.__name__, function.__defaults__, function.__closure__
    )
    body.__kwdefaults__ = function.__kwdefaults__

    def substitute(phase: BackwardTarget, *args: Any, **kwargs: Any) -> Any:
        with SecondDerivatives(phase):
            return body(*args, **kwargs)

    return substitute


def _never(*_: Any) -> bool:
    return False
