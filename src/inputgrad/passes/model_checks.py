"""What is checked about a call that no signature can say: the model, inference tensors, coupled samples, numbers that are not finite."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from inputgrad.torch_internals.modules import is_batch_norm


def check_model(model: Any) -> None:
    """Raises `TypeError` for anything but a module, and `RuntimeError` for one that was made under inference_mode."""
    if isinstance(model, Tensor):
        raise TypeError(
            f"model must be an nn.Module, got a tensor of shape {list(model.shape)}: the criterion calls the model itself, so that it can differentiate it. "
            "Write criterion(model, x, y), not criterion(model(x), y)"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"model must be an nn.Module, got {type(model).__name__}: its parameters, buffers and mode are looked at. Put a function into a module's forward"
        )
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in named:
            if not is_lazy(tensor) and tensor.is_inference():
                raise RuntimeError(
                    f"the model's {kind} {name!r} is an inference tensor, which autograd cannot differentiate through: build or load the model outside "
                    "torch.inference_mode(), or switch it off for validation (in Lightning: Trainer(inference_mode=False))"
                )


def without_inference_tensors(value: Any) -> Any:
    """``value`` with inference tensors cloned into ordinary ones."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, Mapping):
        return {key: without_inference_tensors(item) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)([without_inference_tensors(item) for item in value])
    return value


def coupled_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that couple the samples of a batch by its statistics, with their names."""
    for name, module in model.named_modules():
        if is_batch_norm(module) and (module.training or module.running_mean is None):
            yield name, module
