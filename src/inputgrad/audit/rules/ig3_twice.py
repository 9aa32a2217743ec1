"""IG3, the scale: a penalty that is a mean over the samples already, and is divided by their number once more."""

from collections.abc import Iterator

from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import Operation
from inputgrad.audit.operation_patterns import OVER, PLUS, TIMES, in_the_loss, trained
from inputgrad.audit.replacements.divisors import divided_by_samples
from inputgrad.audit.rule_registry import rule


@rule("IG306", "penalty divided by the batch size twice", "warning")
def twice(facts: Facts) -> Iterator[Finding]:
    """The mean over the samples' penalties is divided by the number of samples again."""
    seen = set()
    for call, live in trained(facts):
        gradient = in_the_loss(live)
        again = _divided_again(gradient)
        diff = None if again is None or again.site in seen else divided_by_samples(again.site)
        if again is None or diff is None:
            continue
        seen.add(again.site)
        count = gradient.samples
        yield Finding(
            "IG306",
            "warning",
            again.site,
            f"the penalty made of this input gradient is a mean over N = {count} samples already, and is divided by {count} again here: it counts {count} "
            "times less than its weight says, and less the larger the batch is.",
            write=diff or "the mean alone, without the division by the number of samples",
            related=(gradient.site, call.site),
            effect=count - 1.0,
        )


def _divided_again(gradient: InputGradient) -> Operation | None:
    """The second division by the number of samples, of a number that nothing else was added to in between."""
    count, divisions = gradient.samples, 0
    if count < 2:
        return None
    for operation in gradient.operations:
        reduced = operation.result == () and operation.shape[:1] == (count,)
        if reduced:  # of several penalties of one gradient each begins anew
            divisions = int(operation.name == "mean" or operation.name.endswith("_loss"))
            continue
        if operation.shape != () or operation.result != ():
            continue
        if operation.name in PLUS and not operation.numbers:
            return None  # no penalty alone any more: the whole loss may be divided on purpose
        if operation.name in TIMES and float(count) in operation.numbers:
            divisions -= 1
        if operation.name in OVER and float(count) in operation.numbers:
            divisions += 1
            if divisions == 2:
                return operation
    return None
