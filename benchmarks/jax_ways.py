"""The workloads in JAX: the same models on the same parameters, jitted. Where JAX is not installed there are none."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

INSTALL = "not installed: pip install 'inputgrad[bench]'"
Steps = tuple[Callable[[], object], Callable[[], Tensor] | None]


def installed() -> bool:
    try:
        import jax
    except ImportError:
        return False
    return bool(jax.__version__)


def ways(workload: str, model: nn.Module, inputs: Tensor, target: Any) -> dict[str, Steps]:
    """``jax``: value and parameter gradient of the loss with its term; ``jax_plain``: without. Each with the term's own gradient, or None."""
    if not installed():
        return {}
    import jax
    import jax.numpy as jnp

    from benchmarks import jax_models

    base, term = jax_models.losses(workload)
    parameters = {name: jnp.asarray(p.detach().numpy()) for name, p in model.named_parameters()}
    x, y = (pytree.tree_map_only(Tensor, lambda t: jnp.asarray(t.numpy()), value) for value in (inputs, target))
    total_step = jax.jit(jax.value_and_grad(lambda p, x, y: base(p, x, y) + term(p, x, y)))
    plain_step = jax.jit(jax.value_and_grad(base))
    term_step = jax.jit(jax.grad(term))

    def term_gradient() -> Tensor:
        found = term_step(parameters, x, y)
        return torch.cat([torch.from_numpy(jax.device_get(found[name]).copy()).flatten() for name in parameters]).double()

    return {
        "jax": (lambda: jax.block_until_ready(total_step(parameters, x, y)), term_gradient),
        "jax_plain": (lambda: jax.block_until_ready(plain_step(parameters, x, y)), None),
    }
