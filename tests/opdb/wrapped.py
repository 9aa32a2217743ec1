"""A function as a small model with parameters on both sides of it, so that the input gradient depends on parameters through its second derivative.

z = a ⊙ x + b · mean(x);   y = Σ w ⊙ function(z)        a, b, w: parameters

The generator of the CPU is seeded by itself: ``torch.manual_seed`` looks for every other device, and takes longer than a pass.

a and b keep z near x, where the function has its domain. The whole input is one sample, ``[1, *input]``, so that a function need not know of samples.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

Outer = Callable[[Tensor], Tensor]


def linear(values: Tensor) -> Tensor:
    return values


class Wrapped(nn.Module):
    """The model. inputs: which of the arguments' tensors are mixed; own: which become parameters as they are."""

    def __init__(self, function: Callable[..., Any], leaves: list[Any], spec: Any, inputs: tuple[int, ...], own: tuple[int, ...], outer: Outer) -> None:
        super().__init__()
        self.function, self.leaves, self.spec, self.inputs, self.outer = function, leaves, spec, inputs, outer
        self.in_double = True
        self.scales = nn.ParameterList(1 - 0.1 * torch.rand_like(leaves[n]) for n in inputs)
        self.shifts = nn.ParameterList(0.05 * torch.rand_like(leaves[n]) for n in inputs)
        self.own = nn.ParameterDict({str(n): leaves[n].detach().clone() for n in own})
        with torch.no_grad():
            torch.default_generator.manual_seed(1)
            self.weights = nn.Parameter(torch.randn_like(self._values([leaves[n].detach()[None] for n in inputs])))

    def forward(self, *inputs: Tensor) -> Tensor:
        return (self.weights * self.outer(self._values(inputs))).sum()[None, None]

    def _values(self, inputs: Any) -> Tensor:
        """What the function returns: every floating or complex number of it, in one row."""
        leaves = [leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        for n, x, scale, shift in zip(self.inputs, inputs, self.scales, self.shifts, strict=True):
            leaves[n] = _mixed(x[0], scale, shift)
        for name, parameter in self.own.items():
            leaves[int(name)] = parameter
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        returned = [part for part in pytree.tree_leaves(self.function(*args, **kwargs)) if isinstance(part, Tensor)]
        numbers = [part for part in returned if part.is_floating_point() or part.is_complex()]
        self.in_double = all(part.dtype in (torch.float64, torch.complex128) for part in numbers)
        return torch.cat([_row(part) for part in numbers])


def _mixed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """a ⊙ x + b · mean(x) of the finite numbers. Infinities and NaN, such as those of a mask, stay as they are: 0 · ∞ would make every parameter NaN."""
    finite = x.isfinite()
    known = torch.where(finite, x, 0)
    return torch.where(finite, known * scale + shift * known.sum() / finite.sum().clamp(min=1), x.detach())


def _row(values: Tensor) -> Tensor:
    return (torch.view_as_real(values.resolve_conj()) if values.is_complex() else values).double().flatten()


def differentiable(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.requires_grad


@dataclass(frozen=True)
class Case:
    """One function with one set of arguments. sample: its number in torch's list, with a mark for what is made of it (see `operations`)."""

    name: str
    sample: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    several: bool = True
    """Whether every tensor that requires grad is an input; else the first alone, and the others are parameters."""
    positive: bool = False
    """Whether the arguments' absolute values are taken, where those of torch's sample lead to no number."""
    unused: tuple[int, ...] = ()
    """Tensors to which no path leads from the result: they stay as they are."""
    outer: Outer = linear

    def model(self) -> tuple[Wrapped, tuple[Tensor, ...]]:
        """A fresh model, always with the same numbers, and its inputs."""
        leaves, spec = pytree.tree_flatten((self.args, self.kwargs))
        positions = tuple(n for n, leaf in enumerate(leaves) if differentiable(leaf) and n not in self.unused)
        positions, own = (positions, ()) if self.several else (positions[:1], positions[1:])
        if self.positive:
            leaves = [leaf.detach().abs().requires_grad_() if differentiable(leaf) else leaf for leaf in leaves]
        function = copy.deepcopy(self.function) if isinstance(self.function, nn.Module) else self.function
        torch.default_generator.manual_seed(0)
        model = Wrapped(function, leaves, spec, positions, own, self.outer)
        return model, tuple(leaves[n].detach().clone()[None] for n in positions)

    def only_the_first(self) -> "Case":
        return replace(self, sample=f"{self.sample}, first", several=False)

    def of_what_counts(self) -> "Case":
        """Without the tensors to which no path leads. Raises `ValueError` where no input is left, and where there is nothing to compare with."""
        model, inputs = self.model()
        if not model.in_double:
            raise ValueError("the result is of lower precision, so the value is a staircase")
        if not any(x.isfinite().any() for x in inputs):
            raise ValueError("there is no number in the input")
        leaves = [*(x.requires_grad_() for x in inputs), *model.own.values()]
        torch.default_generator.manual_seed(1)
        gradients = torch.autograd.grad(model(*leaves[: len(inputs)]).sum(), leaves, allow_unused=True)
        positions = (*model.inputs, *(int(name) for name in model.own))
        unused = tuple(n for n, part in zip(positions, gradients, strict=True) if part is None)
        if set(model.inputs) <= set(unused):
            raise ValueError("no path leads from the result to the input")
        return replace(self, unused=unused)

    def made_positive(self) -> "Case":
        return replace(self, sample=f"{self.sample}, absolute values", positive=True)


def one_or_all(inputs: Sequence[Tensor]) -> tuple[Any, Any]:
    """The inputs as the library takes them, and ``wrt`` for all of them."""
    return (tuple(inputs), tuple(range(len(inputs)))) if len(inputs) > 1 else (inputs[0], 0)
