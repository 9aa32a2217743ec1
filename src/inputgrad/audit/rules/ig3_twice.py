"""IG3, the scale: a penalty that is a mean over the samples already, and is divided by their number once more."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import Operation
from inputgrad.audit.operation_patterns import OVER, PLUS, TIMES, in_the_loss, trained
from inputgrad.audit.replacements.divisors import Batch, divided_once_less, powers_of_samples
from inputgrad.audit.rule_registry import rule

_KEEPING = {"flatten", "view", "reshape", "squeeze", "unsqueeze", "sum", "neg", "__neg__", "contiguous"}
"""Between a division of each sample's penalty and their sum or mean: what changes no scale."""


@dataclass
class _Penalty:
    """One penalty on the way to the loss. averaged: whether it is a mean of itself; over: the numbers that it is divided by at each line; times: how often it
    is multiplied by the number of samples."""

    batch: Batch
    averaged: bool = False
    over: dict[Site, list[float]] = field(default_factory=dict)
    times: int = 0

    def take(self, operation: Operation) -> None:
        """A factor of it, where the operation is one."""
        for value in operation.numbers if operation.name in OVER | TIMES else ():
            power = next((power for power in (1, 2) if value == float(self.batch.samples) ** power), 0)
            if operation.name in TIMES and power:
                self.times += power
            elif value:
                self.over.setdefault(operation.site, []).append(value if operation.name in OVER else 1 / value)

    @property
    def power(self) -> int:
        """By which power of the number of samples it is divided, as the lines say."""
        return self.averaged + sum(powers_of_samples(site, numbers, self.batch) for site, numbers in self.over.items()) - self.times

    @property
    def last(self) -> Site | None:
        """The last line that divides by it."""
        return next((site for site in reversed(self.over) if powers_of_samples(site, self.over[site], self.batch)), None)


@rule("IG306", "penalty divided by the batch size twice", "warning")
def twice(facts: Facts) -> Iterator[Finding]:
    """The mean over the samples' penalties is divided by the number of samples again."""
    seen = set()
    for call, live in trained(facts):
        gradient = in_the_loss(live)
        for penalty in _penalties(gradient):
            site, count = penalty.last, gradient.samples
            if penalty.power < 2 or site is None or site in seen:
                continue
            seen.add(site)
            too_small = count ** (penalty.power - 1)
            yield Finding(
                "IG306",
                "warning",
                site,
                f"{_divided(penalty, site)}: it counts {too_small} times less than its weight says, and less the larger the batch is.",
                write=divided_once_less(site, penalty.over[site], penalty.batch) or "the mean alone, without the division by the number of samples",
                related=(gradient.site, call.site),
                effect=too_small - 1.0,
            )
            break


def _divided(penalty: _Penalty, site: Site) -> str:
    count = penalty.batch.samples
    here = powers_of_samples(site, penalty.over[site], penalty.batch)
    made = "the penalty made of this input gradient is a"
    if not penalty.averaged and here == penalty.power:
        return f"{made} sum over N = {count} samples, and is divided by {count} {'twice' if here == 2 else f'{here} times'} here"
    return f"{made} mean over N = {count} samples already, and is divided by {count} again here"


def _penalties(gradient: InputGradient) -> Iterator[_Penalty]:
    """The penalties that a gradient gives, each as far as nothing else was added to it."""
    count = gradient.samples
    if count < 2:
        return
    batch = Batch(count, math.prod(gradient.shape) // count)
    each, whole = _Penalty(batch), None
    for operation in gradient.operations:
        if operation.shape[:1] == (count,) and operation.result == ():
            if whole is not None:
                yield whole
            whole, each = each, _Penalty(batch)
            whole.averaged = operation.name == "mean" or operation.name.endswith("_loss")
        elif operation.shape[:1] == (count,):
            if operation.name in OVER | TIMES and operation.numbers:
                each.take(operation)
            elif operation.name not in _KEEPING:
                each = _Penalty(batch)  # a square, a norm: what was divided before is no factor of the penalty
        elif operation.shape == operation.result == () and whole is not None:
            if operation.name in PLUS and not operation.numbers:
                yield whole  # no penalty alone any more: the whole loss may be divided on purpose
                return
            whole.take(operation)
    if whole is not None:
        yield whole
