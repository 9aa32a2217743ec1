"""What the tables of small steps and of higher orders are compared with beside hand-written code: JAX, folx, DeepXDE and PINA, where they are installed."""

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

PEERS = {"jax": "JAX", "folx": "folx", "deepxde": "DeepXDE", "pina-mathlab": "PINA"}
INSTALL = "python -m pip install 'inputgrad[bench]'"
MISSING: dict[str, Any] = {"missing": "not installed"}
"""The cell of a way whose package is not there."""


@dataclass(frozen=True)
class Way:
    """One way to make a step.

    step: makes one and returns the parameter gradients. loss: the value that is differentiated. compiles: whether the first step compiles.
    """

    step: Callable[[], list[Any]]
    loss: Callable[[], float]
    compiles: bool = False


def versions() -> dict[str, str]:
    """The versions of those that are installed."""
    return {title: version for package, title in PEERS.items() if (version := _version(package)) is not None}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(makers: Mapping[str, Callable[[], Way]]) -> dict[str, Way]:
    """The ways whose packages are there, in the same order."""
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make()
        except ModuleNotFoundError as error:
            print(f"{name}: {error}; {INSTALL}", flush=True)
    return found


def check_same(ways: Mapping[str, Way], loss: float = 1e-4, gradient: float = 1e-3) -> None:
    """Raises `RuntimeError` where a way computes something else than the first one: by its loss, or by its parameter gradient."""
    names = iter(ways)
    value, expected = _seen(ways[first := next(names)])
    for name in names:
        other, found = _seen(ways[name])
        off = float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))
        if abs(other - value) > loss * abs(value) or off > gradient:
            raise RuntimeError(f"{name} is not what {first} is: losses {other:.7g} and {value:.7g}, gradients differ by {off:.1e}")


def _seen(way: Way) -> tuple[float, Tensor]:
    return way.loss(), flat(way.step())


def flat(gradients: list[Any]) -> Tensor:
    """Parameter gradients of torch or JAX as one vector in float64."""
    return torch.cat([torch.as_tensor(part if isinstance(part, Tensor) else _numpy(part)).detach().double().flatten() for part in gradients])


def _numpy(array: Any) -> Any:
    import numpy as np

    return np.array(array)


def gradients_of(model: nn.Module) -> list[Tensor]:
    """What a step has left in ``.grad``; zeros for a parameter that the loss does not hold, such as the last bias under a Laplacian."""
    return [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in model.parameters()]
