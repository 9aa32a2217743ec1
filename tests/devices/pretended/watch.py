"""What the pretended device sees: tensors of the CPU that meet its own, and what the host waits for or copies, with the place."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import inputgrad as ig

NAME = "pretended"
_INSIDE = str(Path(ig.__file__).parent)
WAITS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "_linalg_check_errors"}
"""Kernels whose answer, or its shape, the host waits for."""
BY_INDEX = ("index", "index_put", "index_put_", "_index_put_impl_")
"""Operations that take indices of the CPU."""
SCALARS = ("where", "floor_divide", "floor_divide_", "remainder", "fill_", "masked_fill", "masked_fill_", *BY_INDEX)
"""Operations that take a single number of the CPU, as all that work number by number do."""
MIXING = {"set_", "_pin_memory", "is_pinned"}
"""Operations that may take tensors of both."""


class State:
    """What has been seen, and how the device behaves."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        """What the host waited for or copied, and where."""
        self.has_float64 = True
        self.capturing = False
        """Whether a graph is captured: what makes the host wait is an error, and so is a look at the generator."""
        self.random: torch.Generator | None = None
        """Its generator; None while it shares the CPU's, for numbers to be compared."""


STATE = State()


def is_there(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def seen(what: str) -> None:
    place = _place()
    STATE.events.append((what, place))
    refuse_under_capture(f"{what} ({place})")


def refuse_under_capture(what: str) -> None:
    """Raise what a real device raises."""
    if STATE.capturing:
        raise RuntimeError(f"operation not permitted when stream is capturing: {what}")


def _place() -> str:
    """The function of the library, or else the line of the caller, that the program is at; of the backward pass where a thread of the device runs it."""
    frame, outermost = sys._getframe(2), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_INSIDE):
            return f"{Path(file).relative_to(_INSIDE).as_posix()}:{frame.f_code.co_name}"
        if not outermost and "/torch/" not in file and not file.startswith(str(Path(__file__).parent)):
            outermost = f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return outermost or "(backward)"


def check_mixing(operation: Any, name: str, leaves: list[Any]) -> None:
    if name in MIXING or not any(map(is_there, leaves)):
        return
    others = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not is_there(leaf) and leaf.device.type != "meta"]
    allowed = torch.Tag.pointwise in operation.tags or name in SCALARS
    indices = name in BY_INDEX
    for other in others:
        if other.dim() == 0 and allowed:
            continue
        if indices and other.dtype in (torch.long, torch.bool):
            seen("copy: index")
            continue
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! (in {name})")


def tell(operation: Any, name: str, args: Any, kwargs: Any, leaves: list[Any]) -> None:
    if name in WAITS and is_there(args[0]):
        seen(f"wait: {name}")
    if name == "repeat_interleave" and kwargs.get("output_size") is None:
        seen("wait: repeat_interleave")
    if name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
        isinstance(z, Tensor) and z.dtype in (torch.bool, torch.uint8) for z in args[1]
    ):
        seen("wait: index by a mask")
