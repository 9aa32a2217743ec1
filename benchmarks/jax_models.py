"""The models and losses of the workloads as functions of JAX arrays; parameters by the names that torch gives them."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.workloads import WEIGHT

Array = Any
Parameters = Mapping[str, Array]
Model = Callable[[Parameters, Array], Array]
Loss = Callable[[Parameters, Array, Any], Array]


def losses(workload: str) -> tuple[Loss, Loss]:
    """The base loss and the weighted term of a workload, both of (parameters, inputs, target)."""
    if workload == "forces":
        return energy, forces_off
    if workload.startswith("critic"):
        return critic(perceptron(leaky) if workload == "critic_mlp" else critic_conv)
    if workload.startswith("cnn"):
        return classifier(relu_cnn if "relu" in workload else residual_cnn)
    if workload.startswith("transformer"):
        return classifier(transformer)
    return classifier(perceptron(jax.nn.relu if "relu" in workload else jax.nn.silu))


def classifier(model: Model) -> tuple[Loss, Loss]:
    def each(p: Parameters, x: Array, y: Array) -> Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(model(p, x)), y[:, None], 1)[:, 0]

    def term(p: Parameters, x: Array, y: Array) -> Array:
        gradient = jax.grad(lambda x: each(p, x, y).sum())(x)
        return WEIGHT * (gradient**2).reshape(len(x), -1).sum(1).mean()

    return (lambda p, x, y: each(p, x, y).mean()), term


def critic(model: Model) -> tuple[Loss, Loss]:
    def base(p: Parameters, x: Array, sign: Array) -> Array:
        return (2 * model(p, x)[:, 0] * sign).mean()

    def term(p: Parameters, x: Array, sign: Array) -> Array:
        real, fake = jnp.split(x, 2)
        gradient = jax.grad(lambda z: model(p, z).sum())(0.3 * real + 0.7 * fake)
        return 10 * ((jnp.sqrt((gradient.reshape(len(real), -1) ** 2).sum(1)) - 1) ** 2).mean()

    return base, term


def leaky(x: Array) -> Array:
    return jnp.where(x > 0, x, 0.2 * x)


def linear(p: Parameters, name: str, x: Array) -> Array:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def perceptron(activation: Callable[[Array], Array]) -> Model:
    def model(p: Parameters, x: Array) -> Array:
        *inner, last = sorted({int(name.split(".")[0]) for name in p})
        for layer in inner:
            x = activation(linear(p, str(layer), x))
        return linear(p, str(last), x)

    return model


def conv(p: Parameters, name: str, x: Array, stride: int = 1) -> Array:
    out = jax.lax.conv_general_dilated(x, p[f"{name}.weight"], (stride, stride), ((1, 1), (1, 1)), dimension_numbers=("NCHW", "OIHW", "NCHW"))
    return out + p[f"{name}.bias"][None, :, None, None]


def group_norm(p: Parameters, name: str, x: Array, groups: int = 8) -> Array:
    parts = x.reshape(len(x), groups, -1)
    centred = parts - parts.mean(-1, keepdims=True)
    scaled = (centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)).reshape(x.shape)
    return scaled * p[f"{name}.weight"][None, :, None, None] + p[f"{name}.bias"][None, :, None, None]


def residual_cnn(p: Parameters, x: Array) -> Array:
    for down, residual in (("0", "1"), ("2", "3"), ("4", "5")):
        x = conv(p, down, x, 1 if down == "0" else 2)
        inner = x
        for half in ("first", "second"):
            inner = conv(p, f"{residual}.{half}.2", jax.nn.silu(group_norm(p, f"{residual}.{half}.0", inner)))
        x = x + inner
    return linear(p, "8", x.mean((2, 3)))


def relu_cnn(p: Parameters, x: Array) -> Array:
    for first in (0, 5, 10):
        for layer in (first, first + 2):
            x = jax.nn.relu(conv(p, str(layer), x))
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
    return linear(p, "16", x.reshape(len(x), -1))


def critic_conv(p: Parameters, x: Array) -> Array:
    for layer in ("0", "2"):
        x = leaky(conv(p, layer, x, 2))
    return linear(p, "5", x.reshape(len(x), -1))


def layer_norm(p: Parameters, name: str, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def attention(p: Parameters, name: str, x: Array, heads: int = 4) -> Array:
    n, t, width = x.shape
    projected = x @ p[f"{name}.in_proj_weight"].T + p[f"{name}.in_proj_bias"]
    q, k, v = jnp.moveaxis(projected.reshape(n, t, 3, heads, width // heads), (2, 3), (0, 2))
    weights = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / (width // heads) ** 0.5)
    return linear(p, f"{name}.out_proj", jnp.swapaxes(weights @ v, 1, 2).reshape(n, t, width))


def transformer(p: Parameters, x: Array) -> Array:
    for layer in sorted({name.split(".")[1] for name in p if name.startswith("layers.")}, key=int):
        at = f"layers.{layer}"
        x = x + attention(p, f"{at}.self_attn", layer_norm(p, f"{at}.norm1", x))
        x = x + linear(p, f"{at}.linear2", jax.nn.gelu(linear(p, f"{at}.linear1", layer_norm(p, f"{at}.norm2", x)), approximate=False))
    return linear(p, "head", x.mean(1))


def energies(p: Parameters, positions: Array) -> Array:
    eye = jnp.eye(positions.shape[1])[None]
    distance = jnp.sqrt(((positions[:, :, None] - positions[:, None]) ** 2).sum(-1) + eye)
    pairs = {name.removeprefix("pair."): value for name, value in p.items()}
    energy = perceptron(jax.nn.silu)(pairs, jnp.exp(-((distance[..., None] - jnp.linspace(0, 5, 32)) ** 2)))[..., 0]
    return (energy * (1 - eye)).sum((1, 2))


def energy(p: Parameters, positions: Array, target: tuple[Array, Array]) -> Array:
    return ((energies(p, positions) - target[0]) ** 2).mean()


def forces_off(p: Parameters, positions: Array, target: tuple[Array, Array]) -> Array:
    gradient = jax.grad(lambda x: energies(p, x).sum())(positions)
    return WEIGHT * ((gradient + target[1]) ** 2).sum((1, 2)).mean()
