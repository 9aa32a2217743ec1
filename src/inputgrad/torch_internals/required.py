"""One clear error where a release of torch lacks a private part that the library cannot do without."""

from types import TracebackType

import torch

from inputgrad.errors import MissingInternalError

READ_IN = "2.6 to 2.15"
"""The releases of torch in which the parts were read."""


class Required:
    """Put around the look-up of a private part of torch: raises `MissingInternalError` where this torch lacks it.

    part: its name. work: what does not work without it. instead: what to do.
    """

    def __init__(self, part: str, work: str, instead: str = f"Install a torch from {READ_IN}") -> None:
        self.part, self.work, self.instead = part, work, instead

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, (AttributeError, ImportError)):
            raise MissingInternalError(
                f"torch {torch.__version__} has no {self.part}, a private part of torch that inputgrad uses: {self.work} does not work. {self.instead}"
            ) from error
