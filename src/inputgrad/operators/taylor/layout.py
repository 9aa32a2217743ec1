"""Which Taylor coefficients a pass carries, and the terms of the chain and product rules for them.

A coefficient is named by its multi-index: (0, 0, 1) is ∂³/∂v₀²∂v₁ along the directions v₀, v₁, … Indices of one order and one pattern of equal numbers are
stored together, as a `Block`, since the same terms make them:

    f(u)_α = Σ over the partitions of α into j parts   f⁽ʲ⁾(u) · Π u_part          (Faà di Bruno)
    (a b)_α = Σ over the ways to split α in two        a_part · b_rest             (Leibniz)

A collapsed block is one weighted sum over its indices, summed while the pass runs: a Laplacian. Must not know tensors.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, pairwise

Index = tuple[int, ...]
Rows = range | tuple[int, ...] | None
"""Which rows of a block: all (None), some next to each other, or any."""


@dataclass(frozen=True)
class Block:
    """Coefficients of one order that are stored together. weights: None for each by itself; else their weighted sum is one coefficient."""

    members: tuple[Index, ...]
    weights: tuple[float, ...] | None = None

    @property
    def order(self) -> int:
        return len(self.members[0])


@dataclass(frozen=True)
class Factor:
    """Rows of a block, as a factor of a term."""

    block: int
    rows: Rows


@dataclass(frozen=True)
class Term:
    """A summand of a rule: a number times factors. weights: of each row, where the rows are then summed up; None where they are not."""

    number: float
    factors: tuple[Factor, ...]
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Split:
    """A summand of the product rule."""

    number: float
    left: Factor
    right: Factor
    weights: tuple[float, ...] | None = None


Sum = tuple[tuple[float, Index], ...]
"""Σ weight · coefficient."""


@dataclass(frozen=True)
class Layout:
    """The coefficients of a pass.

    single: coefficients that are wanted by themselves. sums: collapsed ones.
    """

    single: tuple[Index, ...]
    sums: tuple[Sum, ...] = ()

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """In the order of their order: what a rule for one needs comes before it."""
        wanted = {part for index in self.single for part in _parts(index)}
        wanted |= {part for sum_ in self.sums for _, index in sum_ for part in _parts(index) if len(part) < len(index)}
        groups: dict[tuple[int, tuple[bool, ...]], list[Index]] = {}
        for index in sorted(wanted, key=lambda index: (len(index), index)):
            groups.setdefault((len(index), _pattern(index)), []).append(index)
        singles = [Block(tuple(members)) for _, members in sorted(groups.items())]
        collapsed = [Block(tuple(index for _, index in sum_), tuple(weight for weight, _ in sum_)) for sum_ in self.sums]
        return (*singles, *collapsed)

    @cached_property
    def order(self) -> int:
        return max(block.order for block in self.blocks)

    @cached_property
    def directions(self) -> int:
        """How many directions there are."""
        return 1 + max(number for block in self.blocks for index in block.members for number in index)

    @cached_property
    def chain(self) -> tuple[tuple[tuple[int, tuple[Term, ...]], ...], ...]:
        """For each block: (j, the terms that f⁽ʲ⁾ multiplies) for j ≥ 2."""
        return tuple(tuple(sorted(self._chain(block).items())) for block in self.blocks)

    @cached_property
    def product(self) -> tuple[tuple[Split, ...], ...]:
        """For each block: the terms of the product rule but the first and the last, in which one factor is the value."""
        return tuple(tuple(self._product(block)) for block in self.blocks)

    def holds(self, index: Index) -> bool:
        """Whether a coefficient is among the single ones."""
        return tuple(sorted(index)) in self._places

    def place(self, index: Index) -> tuple[int, int]:
        """The block and the row of a single coefficient."""
        return self._places[tuple(sorted(index))]

    @cached_property
    def _places(self) -> dict[Index, tuple[int, int]]:
        return {index: (b, row) for b, block in enumerate(self.blocks) if block.weights is None for row, index in enumerate(block.members)}

    def _chain(self, block: Block) -> dict[int, tuple[Term, ...]]:
        found: dict[int, list[Term]] = {}
        for members, weights in _by_pattern(block):
            for positions, number in _partitions(_pattern(members[0])):
                if len(positions) > 1:
                    factors = tuple(self._factor([_at(index, part) for index in members]) for part in positions)
                    found.setdefault(len(positions), []).append(Term(number, factors, weights))
        return {j: tuple(terms) for j, terms in found.items()}

    def _product(self, block: Block) -> Iterator[Split]:
        for members, weights in _by_pattern(block):
            for (left, right), number in _halves(_pattern(members[0])):
                if left and right:
                    one, other = (self._factor([_at(index, part) for index in members]) for part in (left, right))
                    yield Split(number, one, other, weights)

    def _factor(self, indices: Sequence[Index]) -> Factor:
        places = [self._places[index] for index in indices]
        ((block, _),) = {(b, 0) for b, _ in places}
        rows = [row for _, row in places]
        if rows == list(range(rows[0], rows[0] + len(rows))):
            return Factor(block, None if len(rows) == len(self.blocks[block].members) else range(rows[0], rows[0] + len(rows)))
        return Factor(block, tuple(rows))


def _parts(index: Index) -> set[Index]:
    """Every index that is contained in it, itself included."""
    return {part for size in range(1, len(index) + 1) for part in combinations(index, size)}


def _pattern(index: Index) -> tuple[bool, ...]:
    """Which neighbours are equal."""
    return tuple(a == b for a, b in pairwise(index))


def _by_pattern(block: Block) -> list[tuple[tuple[Index, ...], tuple[float, ...] | None]]:
    """The members by pattern, with their weights."""
    if block.weights is None:
        return [(block.members, None)]
    groups: dict[tuple[bool, ...], list[tuple[Index, float]]] = {}
    for index, weight in zip(block.members, block.weights, strict=True):
        groups.setdefault(_pattern(index), []).append((index, weight))
    return [(tuple(index for index, _ in group), tuple(weight for _, weight in group)) for group in groups.values()]


def _at(index: Index, positions: tuple[int, ...]) -> Index:
    return tuple(index[position] for position in positions)


def _stand_in(pattern: tuple[bool, ...]) -> Index:
    """An index of this pattern."""
    index = [0]
    for equal in pattern:
        index.append(index[-1] + (not equal))
    return tuple(index)


Positions = tuple[tuple[int, ...], ...]


@cache
def _partitions(pattern: tuple[bool, ...]) -> tuple[tuple[Positions, int], ...]:
    """The partitions of the positions, those that give the same parts counted together."""
    return _merged(pattern, _set_partitions(len(pattern) + 1))


@cache
def _halves(pattern: tuple[bool, ...]) -> tuple[tuple[Positions, int], ...]:
    """The ways to split the positions in a left and a right part, likewise."""
    every = range(len(pattern) + 1)
    ways = [(left, tuple(p for p in every if p not in left)) for size in range(len(every) + 1) for left in combinations(every, size)]
    return _merged(pattern, ways, ordered=True)


def _merged(pattern: tuple[bool, ...], ways: Sequence[Positions], *, ordered: bool = False) -> tuple[tuple[Positions, int], ...]:
    index = _stand_in(pattern)
    first: dict[tuple[Index, ...], Positions] = {}
    count: Counter[tuple[Index, ...]] = Counter()
    for way in ways:
        parts = tuple(_at(index, part) for part in way)
        key = parts if ordered else tuple(sorted(parts))
        first.setdefault(key, way)
        count[key] += 1
    return tuple((first[key], count[key]) for key in first)


def _set_partitions(size: int) -> list[Positions]:
    if size == 0:
        return [()]
    found: list[Positions] = []
    for smaller in _set_partitions(size - 1):
        found += [(*smaller[:i], (*part, size - 1), *smaller[i + 1 :]) for i, part in enumerate(smaller)]
        found.append((*smaller, (size - 1,)))
    return found
