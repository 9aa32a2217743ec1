"""Whether autocast is on."""

import torch


def is_autocast_on() -> bool:
    """Whether it is on for any kind of device: a model may move its inputs to another than theirs. Read in torch 2.6 to 2.15. Missing: asked for each kind."""
    at_once = getattr(torch._C, "_is_any_autocast_enabled", None)
    return bool(at_once()) if at_once is not None else any(map(torch.is_autocast_enabled, ("cpu", "cuda", "xpu", "mps")))
