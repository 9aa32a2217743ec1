"""The references: textbook double backward in plain torch, and the formulas of the terms transcribed once more. Imports nothing of the library.

x.requires_grad_();  g = autograd.grad(score.sum(), x, create_graph=True);  total = base + Σ w·R(g);  total.backward()
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Score = Callable[[Tensor, Any], Tensor]
Gradients = dict[str, Tensor | None]


class Textbook:
    """One forward pass of a model with its variables opened, and what is needed to run it again on the same random draws and buffers."""

    def __init__(self, model: nn.Module, inputs: Any, target: Any, keys: tuple[Any, ...], pick: Callable[[Any], Tensor]) -> None:
        self.model, self.inputs, self.target, self._pick = model, inputs, target, pick
        self._random = torch.get_rng_state()
        self._buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        self.variables: dict[Any, Tensor] = {}
        for key in keys:
            if not _is_module(key):
                given = _entries(inputs)[key]
                self.variables[key] = given if given.requires_grad else given.detach().clone().requires_grad_()
        with self._seen(keys):
            self.output = self._run(self.variables)

    def gradient(self, score: Score, keys: tuple[Any, ...]) -> list[Tensor]:
        """g, one tensor a variable, with its graph; for a score of K columns ``[N, K, ...]``."""
        scores = score(self.output, self.target)
        if scores.dim() == 1:
            return self._grad(scores, keys)
        return [torch.stack(rows, 1) for rows in zip(*[self._grad(column, keys) for column in scores.unbind(1)], strict=True)]

    def _grad(self, scores: Tensor, keys: tuple[Any, ...]) -> list[Tensor]:
        variables = [self.variables[key] for key in keys]
        found = torch.autograd.grad(scores.sum(), variables, create_graph=True, allow_unused=True)
        return [torch.zeros_like(z) if part is None else part for z, part in zip(variables, found, strict=True)]

    def again(self, key: Any, value: Tensor) -> Tensor:
        """The output with the variable under ``key`` set to ``value``: the first pass's draws and buffers, and no trace left."""
        now, live = torch.get_rng_state(), {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        torch.set_rng_state(self._random)
        _set_buffers(self.model, self._buffers)
        hook = _find(self.model, key).register_forward_hook(lambda _module, _args, _output: value) if _is_module(key) else None
        output = self._run({} if hook else {key: value})
        if hook:
            hook.remove()
        torch.set_rng_state(now)
        _set_buffers(self.model, live)
        return output

    def _run(self, values: Mapping[Any, Tensor]) -> Tensor:
        entries = {key: values[key].clone() if key in values else entry for key, entry in _entries(self.inputs).items()}
        args = [entry for key, entry in entries.items() if isinstance(key, int)]
        kwargs = {key: entry for key, entry in entries.items() if isinstance(key, str)}
        return self._pick(self.model(*args, **kwargs))

    @contextmanager
    def _seen(self, keys: tuple[Any, ...]) -> Iterator[None]:
        """The outputs of inner modules, caught as they go by; a module before which nothing is learned has to be opened first."""
        hooks = []
        for key in filter(_is_module, keys):

            def catch(_module: nn.Module, _args: Any, output: Tensor, key: str = key) -> Tensor:
                self.variables[key] = output if output.requires_grad else output.requires_grad_()
                return self.variables[key].clone()

            hooks.append(_find(self.model, key).register_forward_hook(catch))
        yield
        for hook in hooks:
            hook.remove()


Reference = Callable[[Textbook, tuple[Any, ...]], Tensor]
"""One term of one pass, differentiated with respect to the given keys: R ``[N]``."""


def parameter_gradients(model: nn.Module, loss: Tensor) -> Gradients:
    """Every parameter's ``.grad`` after ``loss.backward()``."""
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def distance(found: Gradients, expected: Gradients) -> float:
    """‖found − expected‖ / ‖expected‖ over all parameters, absent gradients counted as zeros."""
    difference = math.hypot(*[float(torch.linalg.vector_norm(_minus(found[name], part))) for name, part in expected.items()])
    length = math.hypot(*[float(part.norm()) for part in expected.values() if part is not None])
    return difference / length if length else difference


def _minus(a: Tensor | None, b: Tensor | None) -> Tensor:
    if a is None or b is None:
        return next((part for part in (a, b) if part is not None), torch.zeros(()))
    return a - b


# heads


def sum_of_outputs(output: Tensor, _target: Any) -> Tensor:
    return output.reshape(output.shape[0], -1).sum(1)


def label(output: Tensor, target: Tensor) -> Tensor:
    return output[torch.arange(len(target)), target]


def log_prob(output: Tensor, _target: Any) -> Tensor:
    return (output - output.exp().sum(1, keepdim=True).log()).sum(1)


def squares(output: Tensor, _target: Any) -> Tensor:
    return (output**2).sum(1)


def cross_entropies(output: Tensor, target: Tensor) -> Tensor:
    return output.exp().sum(1).log() - label(output, target)


def square_errors(output: Tensor, target: Tensor) -> Tensor:
    return ((output - target) ** 2).mean(1)


def each(output: Tensor, _target: Any) -> Tensor:
    return output


def projected(rows: int) -> Score:
    """Random unit directions of the output, drawn after the forward pass from the same stream as the library's."""

    def score(output: Tensor, _target: Any) -> Tensor:
        u = torch.randn(output.shape[0], rows, output.shape[1], dtype=output.dtype)
        return torch.stack([(output * u[:, k] / u[:, k].norm(dim=1, keepdim=True)).sum(1) for k in range(rows)], 1)

    return score


# terms


def norm(score: Score, p: float = 2, power: float = 1, center: float = 0) -> Reference:
    def reference(book: Textbook, keys: tuple[Any, ...]) -> Tensor:
        size = len(book.output)
        rows = torch.cat([part.reshape(size, -1) for part in book.gradient(score, keys)], 1).abs()
        safe = torch.where(rows > 0, rows, 1)  # 0 has the subgradient 0
        zero = torch.zeros((), dtype=rows.dtype)
        if p == math.inf:
            length = rows.amax(1)
        else:
            total = torch.where(rows > 0, safe**p, zero).sum(1)
            length = torch.where(total > 0, torch.where(total > 0, total, 1) ** (1 / p), zero)
        return (length - center).abs() ** power

    return reference


def direction(score: Score, wanted: Callable[[Tensor], Tensor]) -> Reference:
    def reference(book: Textbook, keys: tuple[Any, ...]) -> Tensor:
        (gradient,) = book.gradient(score, keys)
        g = gradient.reshape(len(gradient), -1)
        d = wanted(book.variables[keys[0]].detach()).expand_as(gradient).reshape(g.shape)
        length = (g**2).sum(1) * (d**2).sum(1)
        cosine = torch.where(length > 0, (g * d).sum(1) / torch.where(length > 0, length, 1).sqrt(), torch.zeros((), dtype=g.dtype))
        return 1 - cosine

    return reference


def adversarial(score: Score, loss: Score, epsilon: float, sign: int = 1, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Reference:
    """loss(f(x + δ), y), with the perturbation δ = clip(x ± ε·sign(g)) − x a constant."""

    def reference(book: Textbook, keys: tuple[Any, ...]) -> Tensor:
        (gradient,) = book.gradient(score, keys)
        x = book.variables[keys[0]]
        moved = (x + sign * epsilon * gradient.sign()).clamp(*bounds)
        return loss(book.again(keys[0], x + (moved - x).detach()), book.target)

    return reference


def finite(gradients: Gradients) -> bool:
    """Whether at least one parameter is reached, and every gradient that is there is finite."""
    reached = [gradient for gradient in gradients.values() if gradient is not None]
    return bool(reached) and all(bool(gradient.isfinite().all()) for gradient in reached)


BASES: dict[str, Callable[[Tensor, Any], Tensor]] = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}


def _entries(inputs: Any) -> dict[Any, Any]:
    if isinstance(inputs, Tensor):
        return {0: inputs}
    return dict(inputs) if isinstance(inputs, Mapping) else dict(enumerate(inputs))


def _is_module(key: Any) -> bool:
    return isinstance(key, str) and key.startswith("module:")


def _find(model: nn.Module, key: str) -> nn.Module:
    return model.get_submodule(key.removeprefix("module:"))


def _set_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """New tensors, not new values: the graph of another pass may still hold the old ones."""
    for name, buffer in buffers.items():
        owner, _, last = name.rpartition(".")
        model.get_submodule(owner)._buffers[last] = buffer.clone()
