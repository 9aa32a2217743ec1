"""Watches normalisation and dropout layers at work, and the losses of classifiers: what a function mode sees of them. Follows no tensor."""

import sys
from types import FrameType
from typing import Any, Literal

from torch import Tensor, nn

from inputgrad.audit.call_sites import here
from inputgrad.audit.observations.run_facts import LayerPass
from inputgrad.audit.probes.recorder import Recorder
from inputgrad.audit.probes.tensor_measures import fingerprint, random_draw

_NORMALISING = {"batch_norm"}
_DROPPING = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}
_NEXT_TO_NOTHING = 1e-3
"""Dropout of a smaller share is left out: it was switched off by its probability."""
_CLASSIFYING = {"cross_entropy", "nll_loss"}


def follow(recorder: Recorder, name: str, args: Any, kwargs: Any, result: Any) -> None:
    """Note a call of torch, where it is one of such a layer or loss."""
    if name in _NORMALISING:
        _normalisation(recorder, args, kwargs, result)
    elif name in _DROPPING:
        _dropout(recorder, args, kwargs, result)
    elif name in _CLASSIFYING and args and isinstance(args[0], Tensor) and args[0].dim() == 2 and args[0].grad_fn is not None:
        recorder.event("cross entropy", classes=args[0].shape[1], by=args[0].grad_fn.name())


def _normalisation(recorder: Recorder, args: Any, kwargs: Any, result: Any) -> None:
    training = bool(kwargs.get("training", args[5] if len(args) > 5 else False))
    mean = args[1] if len(args) > 1 else kwargs.get("running_mean")
    _enter(recorder, "batch_norm", training, result, state=id(mean) if mean is not None else 0)


def _dropout(recorder: Recorder, args: Any, kwargs: Any, result: Any) -> None:
    training = bool(kwargs.get("training", args[2] if len(args) > 2 else True))
    if float(kwargs.get("p", args[1] if len(args) > 1 else 0.5)) < _NEXT_TO_NOTHING:
        return
    if training:
        _enter(recorder, "dropout", True, result, given=fingerprint(args[0] if args else kwargs["input"]), draw=random_draw(result))
    else:
        _enter(recorder, "dropout", False, result)


def _enter(recorder: Recorder, kind: Literal["batch_norm", "dropout"], training: bool, result: Tensor, state: int = 0, **details: Any) -> None:
    number, layer = len(recorder.facts.calls), _layer()
    recorder.facts.passes.append(LayerPass(kind, training, recorder.step, here(), state, number, requires_grad=result.requires_grad, layer=layer, **details))


def _layer() -> int:
    """Which layer is at work: the innermost module whose ``forward`` is running, and the line there."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self") if frame.f_code.co_name == "forward" else None
        if isinstance(owner, nn.Module):
            return hash((id(owner), frame.f_lineno))
        frame = frame.f_back
    return hash(here())
