"""The residuals of the equations and conditions in `physics_informed`, as functions of the field."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from inputgrad.operators.fields import Field
from inputgrad.torch_internals.autograd_graph import was_freed
from inputgrad.torch_internals.tracing import is_tracing

Quantity = float | Tensor | Callable[[Field], Any]
"""A number, a tensor (an `nn.Parameter` is learned), or a callable of the field that gives ``[N]``."""


def _at(name: str, quantity: Quantity, u: Field) -> Any:
    """The quantity at the points; a column ``[N, 1]`` counts as ``[N]``. name: of the setting."""
    if isinstance(quantity, Tensor):
        _check_graph(name, quantity)
    found = quantity(u) if callable(quantity) and not isinstance(quantity, Tensor) else quantity
    return found[:, 0] if isinstance(found, Tensor) and found.shape == (u.size, 1) else found


def _check_graph(name: str, quantity: Tensor) -> None:
    """Raises `ValueError` for a tensor that was computed once, and whose graph an earlier backward pass has freed."""
    if quantity.grad_fn is not None and not is_tracing() and was_freed(quantity):
        raise ValueError(
            f"{name}: this tensor of shape {list(quantity.shape)} was computed once, before the training, and the first backward() freed its graph. Compute it "
            f"at every step: pass a callable of the field, such as {name}=lambda u: log_D.exp(), where log_D is your nn.Parameter"
        )


def _space(u: Field, time: str) -> list[str]:
    """Every coordinate but the time, which is checked to be one."""
    u.coordinate(time)
    return [name for name in u.names if name != time]


def poisson(u: Field, source: Quantity, conductivity: Quantity) -> Tensor:
    if isinstance(conductivity, (int, float)):
        return -conductivity * u.laplacian() - _at("source", source, u)
    k = _at("conductivity", conductivity, u)
    return -sum(u.of(k * u.d(name), name) for name in u.names) - _at("source", source, u)


def heat(u: Field, diffusivity: Quantity, source: Quantity, time: str) -> Tensor:
    return u.d(time) - _at("diffusivity", diffusivity, u) * u.laplacian(*_space(u, time)) - _at("source", source, u)


def wave(u: Field, speed: Quantity, source: Quantity, time: str) -> Tensor:
    return u.d(time, time) - _at("speed", speed, u) ** 2 * u.laplacian(*_space(u, time)) - _at("source", source, u)


def burgers(u: Field, viscosity: Quantity, space: str, time: str) -> Tensor:
    return u.d(time) + u.value * u.d(space) - _at("viscosity", viscosity, u) * u.d(space, space)


def condition(u: Field, value: Quantity | Mapping[str | int, Quantity], derivative: str | None) -> tuple[Tensor, ...]:
    if isinstance(value, Mapping):
        return tuple(_valued(u.part(which), derivative) - _one(u, which, given) for which, given in value.items())
    here, wanted = _valued(u, derivative), _at("value", value, u)
    if isinstance(wanted, Tensor) and wanted.dim() and wanted.shape != here.shape:
        several = "; for some of the outputs give a dict, such as value={0: 0.0}" if here.dim() == 2 else ""
        raise ValueError(f"condition: value has shape {list(wanted.shape)}; expected a number or {list(here.shape)}, as the model's output there{several}")
    return (here - wanted).unbind(1) if here.dim() == 2 else (here - wanted,)


def _one(u: Field, which: str | int, value: Quantity) -> Any:
    wanted = _at("value", value, u)
    if isinstance(wanted, Tensor) and wanted.dim() and wanted.shape != (u.size,):
        raise ValueError(f"condition: the value of output {which!r} has shape {list(wanted.shape)}; expected a number or one per point, [{u.size}]")
    return wanted


def _valued(u: Field, derivative: str | None) -> Tensor:
    return u.value if derivative is None else u.d(derivative)
