"""What a field will be asked for, learnt from the fields of the same kind before it, and the cheapest pass that gives all of it.

A kind: the model, where in the program the field is made (or the equation that asks), and the names. A field's first request tells which of its
predecessors it follows: one that starts with its value may need nothing else.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from inputgrad.operators.taylor.layout import Index, Layout

Request = tuple[str, tuple[Index, ...]]
"""("value", ()), ("coordinate", ()), ("open", ()) for the pass itself, ("d", (order,)) or ("sum", (order, order, …)), ("of", ()) for those of quantities.

An order names coordinates by their numbers, sorted; in a sum it may stand several times."""

KEPT = 3
"""How many fields of a kind are remembered, so that what is no longer asked for is no longer made."""


@dataclass
class Learnt:
    """What the latest fields of one kind were asked for, by their first request."""

    by_first: dict[Request, deque[set[Request]]] = field(default_factory=dict)

    def begin(self, first: Request) -> tuple[frozenset[Request], set[Request]]:
        """For a field with this first request: what its predecessors were asked for, and the set to which its own requests go."""
        kept = self.by_first.setdefault(first, deque(maxlen=KEPT))
        expected: frozenset[Request] = frozenset().union(*kept)
        kept.append(own := {first})
        return expected, own


@dataclass(frozen=True)
class Plan:
    """The derivatives that one pass is to give.

    coordinates: the directions, by the numbers of the coordinates. layout: its indices count the directions. passes: see `is_worth`.
    """

    coordinates: tuple[int, ...]
    layout: Layout
    passes: int = 0

    def index(self, order: Index) -> Index:
        """The index of a derivative by coordinates."""
        return tuple(sorted(self.coordinates.index(number) for number in order))


@lru_cache(maxsize=128)
def planned(requests: frozenset[Request]) -> Plan | None:
    """The pass for these requests; None where nested reverse mode is cheaper, or nothing is to be differentiated."""
    single = {orders[0] for kind, orders in requests if kind == "d"}
    sums = {orders for kind, orders in requests if kind == "sum"}
    single |= {order for orders in sums if set(orders) <= single or len(orders) == 1 for order in orders}
    sums = {orders for orders in sums if not set(orders) <= single}
    wanted = single | {order for orders in sums for order in orders}
    if not wanted or max(map(len, wanted)) < 2:
        return None
    coordinates = tuple(sorted({number for order in wanted for number in order}))
    places = {number: place for place, number in enumerate(coordinates)}

    def indices(orders: Sequence[Index]) -> tuple[Index, ...]:
        return tuple(tuple(places[number] for number in order) for order in sorted(orders))

    layout = Layout(indices(tuple(single)), tuple(tuple((float(times), index) for index, times in Counter(indices(orders)).items()) for orders in sorted(sums)))
    return Plan(coordinates, layout, len(_parents(wanted))) if 1.5 * (1 + _rows(layout)) <= _nested_cost(wanted) else None


SMALL = "nested since the batch is small"
LEAST_NUMBERS = {2: 1 << 15, 3: 1 << 12}
"""By the backward passes that nesting would make, how many numbers the results of a model's operations hold on average where one pass on jets gets quicker.

A rule costs more Python than a node of a graph. Measured by ``python -m benchmarks.crossovers`` on two cores; from four passes on jets were quicker at each
size."""


def is_worth(passes: int, numbers: float) -> bool:
    """Whether one pass on jets is quicker than nesting. numbers: held by the result of an operation of the model, on average."""
    return numbers >= LEAST_NUMBERS.get(passes, 0)


def _rows(layout: Layout) -> int:
    return sum(len(block.members) if block.weights is None else 1 for block in layout.blocks)


def _nested_cost(wanted: set[Index]) -> float:
    """Of nested reverse mode, in forward passes: one backward pass for each derivative that is differentiated again, dearer with each order."""
    return 1 + sum((2, 4, 10, 24)[min(len(parent), 3)] for parent in _parents(wanted))


def _parents(wanted: set[Index]) -> set[Index]:
    """The derivatives that are differentiated again."""
    return {order[:length] for order in wanted for length in range(len(order))}
