"""What is checked about a call that no signature can say: inference tensors, coupled samples, numbers that are not finite."""

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from inputgrad.errors import warn
from inputgrad.places import ModelInputs

if TYPE_CHECKING:
    from inputgrad.batch import Batch
    from inputgrad.terms.base import Weighted

_WARNED: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_COUPLING = (nn.modules.batchnorm._BatchNorm,)


def thawed(value: Any, model: nn.Module) -> Any:
    """``value`` with inference tensors cloned into ordinary ones. Raises `RuntimeError` where the model itself was made under inference_mode."""
    if isinstance(value, Tensor) and value.is_inference():
        frozen = next((name for name, parameter in model.named_parameters() if parameter.is_inference()), None)
        if frozen is not None:
            raise RuntimeError(
                f"the model's parameter {frozen!r} is an inference tensor, which autograd cannot differentiate through: build or load the model outside "
                "torch.inference_mode(), or switch it off for validation (in Lightning: Trainer(inference_mode=False))"
            )
        return value.clone()
    if isinstance(value, Mapping):
        return {key: thawed(item, model) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(thawed(item, model) for item in value)
    return value


def warn_if_coupled(model: nn.Module, terms: "Sequence[Weighted]") -> None:
    """One warning a model whose samples are coupled by batch statistics: a row of the input gradient is then not that sample's own alone."""
    if not terms or model in _WARNED:
        return
    for name, module in model.named_modules():
        if isinstance(module, _COUPLING) and (module.training or module.running_mean is None):
            _WARNED.add(model)
            warn(
                f"module {name!r} ({type(module).__name__}) couples the samples of a batch by its statistics, so the input gradient of one sample's score "
                "reaches the other samples too: row n of the gradient is the derivative of the WHOLE batch's scores with respect to sample n. "
                "For gradients of each sample's own, use GroupNorm or LayerNorm, or put the module in evaluation mode"
            )
            return


def check_finite(values: Mapping[str, Tensor], batch: "Batch") -> None:
    """Name the argument that brought NaN or infinity into the loss, where one of them did. On the CPU only: elsewhere looking would wait for the device."""
    if any(value.device.type != "cpu" for value in values.values()) or all(bool(value.isfinite()) for value in values.values()):
        return
    named = [(f"inputs[{key!r}]", tensor) for key, tensor in ModelInputs.of(batch.inputs).tensors()]
    named += [("target", batch.target)] if isinstance(batch.target, Tensor) else []
    for name, tensor in named:
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).sum())
            raise ValueError(f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite, and so is the loss: clean or mask the data")
