"""Fields: a model's output as a function of named coordinates, with its derivatives by name, each computed once.

Knows no batch, no engine and no term.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from inputgrad.errors import nearest
from inputgrad.operators.as_asked import in_any_mode
from inputgrad.operators.coordinates import Columns, Coordinates, Names, names_or_none
from inputgrad.operators.field_mistakes import ToldInField
from inputgrad.operators.taylor.field_source import FieldSource
from inputgrad.operators.taylor.plan import Request
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.variables import Key


class Field(ToldInField):
    """u(x, t, …): the values of a model at N points, and its derivatives by the names of the coordinates, differentiable in the parameters.

    ``value``: ``[N]``, or ``[N, C]`` for C outputs; an output of shape ``[N, 1]`` counts as ``[N]``.
    ``d("t")``, ``d("xx")``, ``d("xt")``: ∂u/∂t, ∂²u/∂x², ∂²u/∂x∂t, of the shape of ``value``. Where names have several letters: ``d("x1", "x2")``.

    Made by `inputgrad.field`; without a graph under ``no_grad``. One forward pass is enough for all, and each derivative is kept.

    >>> from torch import nn
    >>> from inputgrad.operators import field
    >>> u = field(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 2), names="xt")
    >>> u.value.shape, u.d("xx").shape, u.coordinate("t").shape
    (torch.Size([5]), torch.Size([5]), torch.Size([5]))
    """

    def __init__(self, coordinates: Coordinates, outputs: tuple[str, ...] | None = None, column: int | None = None) -> None:
        self._coordinates = coordinates
        self._outputs, self._column = outputs, column
        self._known: dict[tuple[int, ...], Tensor] = {}
        self._first: dict[tuple[int, ...], Columns] = {}
        self._parts: dict[int, Field] = {}
        self._made: dict[int, tuple[Any, Any]] = {}

    @property
    @in_any_mode
    def value(self) -> Tensor:
        """u ``[N]``, or ``[N, C]`` for C outputs."""
        self._coordinates.source.ask(("value", ()))
        return self._value()

    @property
    def size(self) -> int:
        """N, the number of points."""
        return self._value().shape[0]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the coordinates, in order."""
        return self._coordinates.names

    @in_any_mode
    def d(self, *names: str) -> Tensor:
        """A derivative by the names of its coordinates, in any order: ``d("xxt")`` is ``d("x", "x", "t")``."""
        order = self._coordinates.sorted_order(names)
        self._coordinates.source.ask(("d", (order,)))
        return self._derivative(order)

    @in_any_mode
    def of(self, quantity: Tensor, *names: str) -> Tensor:
        """A derivative of a quantity that was made of this field: ``u.of(k(u.value) * u.d("x"), "x")``. quantity: ``[N]``, such as a flux or a residual."""
        if quantity.shape != self._value().shape[:1]:
            raise ValueError(f"of takes a quantity with one number per point, [N] = [{len(self._value())}], got shape {list(quantity.shape)}")
        for index in self._coordinates.order(names):
            quantity = self._coordinates.gradient(quantity)[index]
        return quantity

    @in_any_mode
    def slopes(self, quantity: Tensor, names: Sequence[str] | None = None) -> tuple[Tensor, ...]:
        """All first derivatives of a quantity, in one backward pass. quantity: as in `of`. names: of the coordinates; all where none is named."""
        found = self._coordinates.gradient(quantity)
        return tuple(found[index] for index in self._coordinates.order(tuple(names or self.names)))

    @in_any_mode
    def gradient(self, *names: str) -> Tensor:
        """∂u/∂(x, …) ``[N, D]`` (``[N, C, D]`` for C outputs) by the named coordinates; by all where none is named."""
        return torch.stack([self.d(name) for name in self._chosen(names)], -1)

    @in_any_mode
    def laplacian(self, *names: str) -> Tensor:
        """Σ ∂²u/∂x² over the named coordinates; over all where none is named. Name them where one is the time."""
        return self._sum(tuple((index, index) for index in self._coordinates.order(tuple(self._chosen(names)))))

    @in_any_mode
    def biharmonic(self, *names: str) -> Tensor:
        """ΔΔu = Σ ∂⁴u/∂x²∂y² over all pairs of the named coordinates; over all coordinates where none is named. Name them where one is the time.

        >>> from torch import nn
        >>> from inputgrad.operators import field
        >>> u = field(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), torch.rand(5, 3), names="xyt")
        >>> cube = 3 * u.value**2 * u.laplacian("x", "y") + 6 * u.value * u.gradient("x", "y").square().sum(1)  # Δu³
        >>> cahn_hilliard = u.d("t") - cube + u.laplacian("x", "y") + 0.01 * u.biharmonic("x", "y")
        """
        chosen = self._coordinates.order(tuple(self._chosen(names)))
        return self._sum(tuple(tuple(sorted((a, a, b, b))) for a in chosen for b in chosen))

    @in_any_mode
    def hessian(self, *names: str) -> Tensor:
        """∂²u/∂(x, …)² ``[N, D, D]`` (``[N, C, D, D]`` for C outputs) by the named coordinates; by all where none is named."""
        chosen = self._chosen(names)
        return torch.stack([torch.stack([self.d(a, b) for b in chosen], -1) for a in chosen], -2)

    @in_any_mode
    def divergence(self, *names: str) -> Tensor:
        """Σ ∂u_i/∂x_i ``[N]`` over the named coordinates, over all where none is named: as many as there are outputs, in their order."""
        chosen = self._chosen(names)
        if len(chosen) != self._count():
            raise ValueError(f"divergence needs as many coordinates as outputs: the field has {self._count()} output(s), the coordinates are {chosen}")
        return torch.stack([part.d(name) for part, name in zip(self, chosen, strict=True)]).sum(0)

    def _sum(self, orders: tuple[tuple[int, ...], ...]) -> Tensor:
        """The sum of derivatives; one that stands there twice counts twice."""
        self._coordinates.source.ask(("sum", orders))
        self._value()  # checked
        summed = self._coordinates.source.sum(orders)
        if summed is not None:
            return self._own(summed)
        return torch.stack([self._derivative(order) if times == 1 else times * self._derivative(order) for order, times in Counter(orders).items()]).sum(0)

    @in_any_mode
    def coordinate(self, name: str) -> Tensor:
        """The values ``[N]`` of a coordinate. name: of the coordinate, such as "t"."""
        (index,) = self._coordinates.order((name,))
        self._coordinates.source.ask(("coordinate", ()))
        return self._coordinates.values[index]

    def part(self, which: str | int) -> "Field":
        """One of several outputs as a field of its own. which: its name or its number."""
        count, names = self._count(), self._outputs or ()
        which = names.index(str(which)) if which in names else which
        if isinstance(which, bool) or not isinstance(which, int) or not 0 <= which < count:
            known = nearest(which, names) if names else f'it has {count} without names: give these, such as outputs="uv"'
            raise ValueError(f"{which!r} is not an output of this field; {known}")
        return self if self._value().dim() == 1 else self._parts.setdefault(which, Field(self._coordinates, column=which))

    def __iter__(self) -> Iterator["Field"]:
        """The outputs one after another: ``u, v, p = field``."""
        return (self.part(index) for index in range(self._count()))

    def once(self, function: Callable[["Field"], Any]) -> Any:
        """``function(self)``, computed once for this field however many terms ask."""
        if id(function) not in self._made:
            self._made[id(function)] = (function, function(self))
        return self._made[id(function)][1]

    def _value(self) -> Tensor:
        if () not in self._known:
            self._known[()] = _checked(self._own(self._coordinates.source.output), self._outputs)
        return self._known[()]

    def check(self, output: Tensor) -> None:
        """Raises `ValueError` for an output that is none of a field, or has not the number of columns that were named."""
        _checked(self._own(output), self._outputs)

    @property
    def requests(self) -> frozenset[Request]:
        """What it was asked for until now."""
        return self._coordinates.source.requests

    def second_order(self) -> ForwardPass | None:
        """The model's pass, where more than first derivatives were asked for."""
        return self._coordinates.source.second_order()

    def _own(self, output: Tensor) -> Tensor:
        """This field's share of a tensor of the output's shape."""
        column = 0 if self._column is None and output.dim() == 2 and output.shape[1] == 1 else self._column
        return output if column is None else output[:, column]

    def _count(self) -> int:
        return self._value().shape[1] if self._value().dim() == 2 else 1

    def _chosen(self, names: tuple[str, ...]) -> list[str]:
        return [self.names[index] for index in self._coordinates.order(names)] if names else list(self.names)

    def _derivative(self, order: tuple[int, ...]) -> Tensor:
        if order in self._known:
            return self._known[order]
        value = self._value()
        if not order:
            return value
        if (brought := self._coordinates.source.derivative(order)) is not None:
            self._known[order] = self._own(brought)
        elif value.dim() == 2:
            self._known[order] = torch.stack([part._derivative(order) for part in self], 1)
        else:
            lower = [(order[:place] + order[place + 1 :], index) for place, index in enumerate(order)]
            parent, index = next((found for found in lower if found[0] in self._first), lower[-1])
            if parent not in self._first:
                if parent:
                    self._coordinates.source.check_second()
                self._first[parent] = self._coordinates.gradient(self._derivative(parent), of_output=not parent)
            self._known[order] = self._first[parent][index]
        return self._known[order]


def make_field(source: FieldSource, names: Names | None, outputs: Names | None) -> Field:
    """A field from where it has its numbers, and their names; for inputs in a dict their own names are used."""
    coordinates = Coordinates(source, names_by_keys(source.keys) if names is None else names)
    made = Field(coordinates, names_or_none("outputs", outputs))
    if outputs is not None and source.is_first:  # wrong names raise here, on the line that names them
        made.check(source.open())
    return made


def names_by_keys(keys: tuple[Key, ...]) -> tuple[str, ...]:
    """The inputs' own names. Raises `ValueError` where some have none."""
    if not all(isinstance(key, str) for key in keys):
        raise ValueError('names= is missing: name the coordinates, such as names=("x", "t"), or give the inputs in a dict {"x": x, "t": t}')
    return tuple(map(str, keys))


def _checked(value: Tensor, outputs: tuple[str, ...] | None) -> Tensor:
    if value.dim() not in (1, 2):
        raise ValueError(f"a field's output must be [N] or [N, C], got {list(value.shape)}")
    count = value.shape[1] if value.dim() == 2 else 1
    if outputs is not None and len(outputs) != count:
        raise ValueError(f"outputs must name each of the model's {count} output(s), got {outputs}")
    return value
