"""The losses of the tables in JAX: ``jit(value_and_grad)`` on parameters copied from the torch model. Needs JAX, and folx for its forward Laplacian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from benchmarks.jax_models import perceptron
from benchmarks.peers import Way

Array = Any
Laplacian = Callable[[Callable[[Array], Array]], Callable[[Array], Array]]
"""u(x) of one point -> Δu(x)"""
ACTIVATIONS = {nn.Tanh: jnp.tanh, nn.Softplus: jax.nn.softplus, nn.ReLU: jax.nn.relu}


def way(loss: Callable[..., Array], model: nn.Sequential, *tensors: Any) -> Way:
    """A jitted step of ``loss(network, parameters, *tensors)``, network(parameters, x) being the model."""
    network = perceptron(ACTIVATIONS[type(model[1])])
    parameters = {name: jnp.array(parameter.detach().numpy()) for name, parameter in model.named_parameters()}
    arrays = pytree.tree_map_only(Tensor, lambda tensor: jnp.array(tensor.detach().numpy()), tensors)
    jitted = jax.jit(jax.value_and_grad(lambda p, *rest: loss(network, p, *rest)))

    def made() -> Any:
        return jax.block_until_ready(jitted(parameters, *arrays))

    def step() -> list[Any]:
        _, gradients = made()
        return [gradients[name] for name in parameters]

    return Way(step, lambda: float(made()[0]), compiles=True)


def _output_and_gradient(network: Any, p: Any, x: Array) -> tuple[Array, Array]:
    gradient, output = jax.grad(lambda x: ((output := network(p, x)).sum(), output), has_aux=True)(x)
    return output, gradient


def penalised(weight: float) -> Callable[..., Array]:
    """Mean square error, and the mean square of the input gradient."""

    def loss(network: Any, p: Any, x: Array, y: Array) -> Array:
        output, gradient = _output_and_gradient(network, p, x)
        return ((output - y) ** 2).mean() + weight * (gradient**2).sum(1).mean()

    return loss


def prices_and_deltas(weight: float) -> Callable[..., Array]:
    """Mean square errors of outputs and of their input gradients."""

    def loss(network: Any, p: Any, x: Array, target: tuple[Array, Array]) -> Array:
        output, gradient = _output_and_gradient(network, p, x)
        return ((output - target[0]) ** 2).mean() + weight * ((gradient - target[1]) ** 2).sum(1).mean()

    return loss


def heat(weight: float) -> Callable[..., Array]:
    """The mean square of u_t − weight · u_xx; x first, t second."""

    def loss(network: Any, p: Any, x: Array, _target: None) -> Array:
        first = jax.grad(lambda z: network(p, z)[0])
        second = jax.vmap(lambda z: jax.jvp(first, (z,), (jnp.array([1.0, 0.0]),)))  # u_z and its derivative by x
        slope, curvature = second(x)
        return ((slope[:, 1] - weight * curvature[:, 0]) ** 2).mean()

    return loss


def critic(weight: float) -> Callable[..., Array]:
    """WGAN-GP's loss of real samples, the first half, and fakes, with its penalty at given points between them."""

    def loss(network: Any, p: Any, x: Array, target: tuple[Array]) -> Array:
        real, fake = jnp.split(network(p, x), 2)
        _, gradient = _output_and_gradient(network, p, target[0])
        return fake.mean() - real.mean() + weight * ((jnp.linalg.norm(gradient, axis=1) - 1) ** 2).mean()

    return loss


def attacked(weight: float) -> Callable[..., Array]:
    """The cross-entropy at x and, weighted, at x + 0.1 · sign of its input gradient."""

    def loss(network: Any, p: Any, x: Array, y: Array) -> Array:
        def entropy(x: Array) -> Array:
            return -jnp.take_along_axis(jax.nn.log_softmax(network(p, x)), y[:, None], 1).mean()

        value, gradient = jax.value_and_grad(entropy)(x)
        return value + weight * entropy(jax.lax.stop_gradient(x + 0.1 * jnp.sign(gradient)))

    return loss


def nested(u: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The trace of `jax.hessian`: forward mode over reverse mode."""
    return lambda x: jnp.trace(jax.hessian(u)(x))


def twice_nested(u: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The biharmonic operator."""
    return nested(nested(u))


def forward_laplacian(u: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Raises `ModuleNotFoundError` without folx."""
    from folx import forward_laplacian as forward

    carried = forward(u)
    return lambda x: carried(x).laplacian


def mean_square(operator: Laplacian, source: float = 0.0) -> Callable[..., Array]:
    """Of −Δu − source at the points, and of u at those of the boundary where there are any."""

    def loss(network: Any, p: Any, x: Array, *edge: Array) -> Array:
        inside = (-jax.vmap(operator(lambda x: network(p, x)[0]))(x) - source) ** 2
        return inside.mean() + sum((network(p, points) ** 2).mean() for points in edge)

    return loss
