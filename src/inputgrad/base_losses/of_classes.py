"""torch's cross-entropy of labels, each label's by itself or all together, without what calling a module of it does before."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inputgrad.torch_internals.modules import runs_its_class_alone


def losses_of_classes(loss: object, output: object, target: object) -> Tensor | None:
    """What `nn.CrossEntropyLoss` gives for each of the labels ``[N]`` of outputs ``[N, C]``; None for any other loss, output and target.

    Asked at each step of an attack.
    """
    return _of_classes(loss, output, target, "none")


def loss_of_classes(loss: object, output: object, target: object) -> Tensor | None:
    """The mean or the sum that it gives for these, 0-d; None likewise."""
    reduction = getattr(loss, "reduction", None)
    return _of_classes(loss, output, target, reduction) if reduction in ("mean", "sum") else None


def _of_classes(loss: object, output: object, target: object, reduction: str) -> Tensor | None:
    if type(loss) is not nn.CrossEntropyLoss or type(output) is not Tensor or type(target) is not Tensor or target.dtype is not torch.int64:
        return None
    if output.dim() != 2 or target.shape != output.shape[:1] or target.device != output.device or not runs_its_class_alone(loss):
        return None
    if loss.weight is not None and loss.weight.device != output.device:
        return None
    return F.cross_entropy(output, target, loss.weight, ignore_index=loss.ignore_index, reduction=reduction, label_smoothing=loss.label_smoothing)
