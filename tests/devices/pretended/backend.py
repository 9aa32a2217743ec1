"""The backend itself, on torch's key for backends of others (PrivateUse1). To be switched on in a process of its own, before the first backward pass.

A tensor of the device has a storage that points at the memory of a tensor of the CPU, which hangs on it. Each operation runs on the CPU's tensors of the
same memory; its results get storages of the device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from tests.devices.pretended import autocast
from tests.devices.pretended.watch import NAME, STATE, check_mixing, is_there, refuse_under_capture, seen, tell

DEVICE = torch.device("cpu")
"""Set by `switch_on`."""
CPU = torch.device("cpu")
_ON_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)


def _convolution_backward(output: Tensor, x: Tensor, weight: Tensor, *settings: Any) -> Any:
    channels = weight.shape[1] * settings[-2] if settings[3] else weight.shape[0]
    return torch.ops.aten.convolution_backward(output, x, weight, [channels], *settings)


LIBRARY = {
    "convolution_overrideable": torch.ops.aten.convolution,
    "_efficientzerotensor": lambda size, **settings: torch.zeros(size, **settings),
    "_fused_sdp_choice": lambda *_args, **_settings: 0,
    "convolution_backward_overrideable": _convolution_backward,
}
"""What torch asks a backend of its own for -> the CPU's."""


class Backend:
    """What `torch.get_device_module` gives."""

    is_initialized = is_available = staticmethod(lambda: True)
    _is_in_bad_fork = staticmethod(lambda: False)
    current_device = staticmethod(lambda: 0)
    device_count = staticmethod(lambda: 1)

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        if STATE.random is not None:
            STATE.random.manual_seed(seed)

    manual_seed = manual_seed_all

    @staticmethod
    def is_current_stream_capturing() -> bool:
        return STATE.capturing

    @staticmethod
    def get_rng_state(_device: Any = None) -> Tensor:
        refuse_under_capture("get_rng_state")
        return torch.get_rng_state() if STATE.random is None else STATE.random.get_state()

    @staticmethod
    def set_rng_state(state: Tensor, _device: Any = None) -> None:
        refuse_under_capture("set_rng_state")
        if STATE.random is None:
            torch.set_rng_state(state)
        else:
            STATE.random.set_state(state)

    @staticmethod
    def synchronize(_device: Any = None) -> None:
        seen("wait: synchronize")


def switch_on() -> torch.device:
    """Register the backend."""
    global DEVICE
    _setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    DEVICE = torch.device(NAME, 0)
    library = torch.library.Library("_", "IMPL")
    library.fallback(_run, "PrivateUse1")
    own = torch.library.Library("aten", "IMPL")
    for name in ("convolution_overrideable", "convolution_backward_overrideable"):
        own.impl(name, partial(_run, getattr(torch.ops.aten, name).default), "PrivateUse1")
    _KEPT.extend((library, own, *autocast.switch_on()))
    torch.UntypedStorage.clone = _cloned
    torch.Generator = _Generator
    return DEVICE


_KEPT: list[Any] = []
_TorchGenerator = torch.Generator


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _TorchGenerator)


class _Generator(metaclass=_Kind):
    """torch's own, which a backend in Python cannot make for its device: one of the CPU stands for it."""

    def __new__(cls, device: Any = "cpu") -> Any:
        return _TorchGenerator("cpu" if torch.device(device).type == NAME else device)


def host(tensor: Tensor) -> Tensor:
    """A tensor of the CPU on the same memory."""
    storage = tensor.untyped_storage()
    own = getattr(storage, "host", None)
    if own is None:
        assert not storage.nbytes(), "a storage that the backend has not made"
        own = torch.UntypedStorage(0)
    return torch.empty(0, dtype=tensor.dtype).set_(own, tensor.storage_offset(), tensor.shape, tensor.stride())


def there(tensor: Tensor, storage: torch.UntypedStorage | None = None) -> Tensor:
    """A tensor of the device on the memory of one of the CPU. storage: the device's, where there is one of that memory."""
    if tensor.dtype is torch.float64 and not STATE.has_float64:
        raise TypeError(f"Cannot convert a tensor to float64: the device {NAME} has none")
    if storage is None:
        storage = _storage(tensor.untyped_storage())
    result: Tensor = torch._C._acc.create_empty_tensor((0,), tensor.dtype)
    torch.ops.aten.set_.source_Storage_storage_offset.redispatch(_ON_CPU, result, storage, tensor.storage_offset(), tensor.shape, tensor.stride())
    return result


def _storage(own: torch.UntypedStorage) -> torch.UntypedStorage:
    """A storage of the device on the memory of one of the CPU."""
    storage = torch._C._construct_storage_from_data_pointer(own.data_ptr(), DEVICE, own.nbytes())
    storage.host = own
    return storage


def _cloned(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """What copying a model asks for."""
    return _storage(_CLONE(storage.host)) if storage.device.type == NAME else _CLONE(storage)


_CLONE = torch.UntypedStorage.clone


def _run(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """The kernel of every operation."""
    name = operation._schema.name.removeprefix("aten::")
    if name == "_copy_from":
        return _copied(*args)
    if name == "set_":
        return operation.redispatch(_ON_CPU, *args)
    leaves, structure = pytree.tree_flatten((_with_tensors(operation, args), kwargs))
    check_mixing(operation, name, leaves)
    tell(operation, name, args, kwargs, leaves)
    storages = {leaf.untyped_storage().host.data_ptr(): leaf.untyped_storage() for leaf in leaves if is_there(leaf) and hasattr(leaf.untyped_storage(), "host")}
    to_device = _target(leaves, args) if name in _FACTORIES or not any(map(is_there, leaves)) else True
    mapped = [host(leaf) if is_there(leaf) else CPU if isinstance(leaf, torch.device) and leaf.type == NAME else leaf for leaf in leaves]
    given, named = pytree.tree_unflatten(mapped, structure)
    kernel = LIBRARY.get(name, operation)
    with _random(operation, named):
        result = kernel(*given, **named)
    back = {id(cpu): leaf for cpu, leaf in zip(mapped, leaves, strict=True) if is_there(leaf)}
    for cpu, leaf in zip(mapped, leaves, strict=True):
        if is_there(leaf) and (cpu.shape != leaf.shape or cpu.stride() != leaf.stride() or cpu.dtype != leaf.dtype):  # one that was resized as a result
            other = there(cpu)
            torch.ops.aten.set_.source_Storage_storage_offset.redispatch(_ON_CPU, leaf, other.untyped_storage(), 0, cpu.shape, cpu.stride())

    def returned(value: Any) -> Any:
        if not isinstance(value, Tensor) or not to_device:
            return value
        return back[id(value)] if id(value) in back else there(value, storages.get(value.untyped_storage().data_ptr()) if value.numel() else None)

    return pytree.tree_map(returned, result)


def _with_tensors(operation: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers that torch hands over in place of tensors, as tensors again."""
    wanted = (str(argument.type) == "Tensor" for argument in operation._schema.arguments)
    like = next((z.dtype for z in args if is_there(z) and z.is_floating_point()), None)
    return tuple(torch.tensor(z, dtype=like) if isinstance(z, (int, float)) and is_tensor else z for z, is_tensor in zip(args, wanted, strict=False))


def _copied(source: Tensor, target: Tensor, _non_blocking: bool = False) -> Tensor:
    if is_there(source) != is_there(target):
        seen("wait: to the CPU" if is_there(source) else "copy: to the device")
    (host(target) if is_there(target) else target).copy_(host(source) if is_there(source) else source)
    return target


_FACTORIES = ("empty", "empty_strided")


def _target(leaves: list[Any], args: Any) -> bool:
    named = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    return named[-1].type == NAME if named else bool(args) and is_there(args[0])


@contextmanager
def _random(operation: Any, kwargs: dict[str, Any]) -> Iterator[None]:
    """Around an operation: what draws without a generator of its own draws from the device's."""
    if STATE.random is None or torch.Tag.nondeterministic_seeded not in operation.tags or kwargs.get("generator") is not None:
        yield
        return
    before = torch.get_rng_state()
    torch.set_rng_state(STATE.random.get_state())
    try:
        yield
    finally:
        STATE.random.set_state(torch.get_rng_state())
        torch.set_rng_state(before)
