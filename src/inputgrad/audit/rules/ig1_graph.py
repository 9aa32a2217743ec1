"""IG1, the graph: an input gradient in the loss that no parameter feels."""

import math
from collections.abc import Iterator

from inputgrad.audit.facts import Facts, GradientCall
from inputgrad.audit.findings import Finding, rule

_ASK = "input_grad, = torch.autograd.grad({root}, {input}, create_graph=True)"


@rule("IG101", "gradient without a graph in the loss")
def without_graph(facts: Facts) -> Iterator[Finding]:
    """A summand of a loss comes from an input gradient that was taken without ``create_graph=True``."""
    for call in _training(facts):
        for dead in call.dead:
            source = dead.trail.source
            if dead.trail.cut is None or dead.trail.cut.by != "no graph":
                continue
            how = "backward without create_graph=True" if source.call.kind == "backward" else "autograd.grad without create_graph=True"
            effect = facts.measured.get(source.call.site, math.nan)
            yield Finding(
                "IG101",
                "error",
                source.call.site,
                f"the input gradient computed here carries no graph ({how}); the loss term made from it at {dead.site.shown} changes no parameter.",
                "‖∂term/∂θ‖ = 0 now" + ("" if math.isnan(effect) else f", {effect:.3g} with a graph"),
                _ASK.format(root="output.sum()", input="input_tensor") if source.call.kind == "backward" else "torch.autograd.grad(..., create_graph=True)",
                (dead.site,),
            )


@rule("IG102", "graph cut on the way to the loss")
def cut_on_the_way(facts: Facts) -> Iterator[Finding]:
    """The input gradient had a graph, and an operation between it and the loss ended it."""
    for call in _training(facts):
        for dead in call.dead:
            cut = dead.trail.cut
            if cut is None or cut.by == "no graph" or not dead.trail.source.requires_grad:
                continue
            what = {"no_grad": "torch.no_grad() is on here", "data": ".data leaves the graph here"}.get(cut.by, f".{cut.by}() leaves the graph here")
            yield Finding(
                "IG102",
                "error",
                cut.site,
                f"{what}: the loss term that goes on from it at {dead.site.shown} changes no parameter, though the input gradient of "
                f"{dead.trail.source.site.shown} carried a graph.",
                "‖∂term/∂θ‖ = 0 now",
                "keep the tensor as it is between the input gradient and the loss",
                (dead.site, dead.trail.source.site),
            )


@rule("IG103", "connected term that changes no parameter")
def connected_and_zero(facts: Facts) -> Iterator[Finding]:
    """The loss depends on the input gradient, and the input gradient does not depend on the parameters."""
    for call in _training(facts):
        for reached in call.alive:
            if reached.effect == 0 and reached.pull:
                yield Finding(
                    "IG103",
                    "error",
                    reached.source.site,
                    f"the loss of {call.site.shown} depends on this input gradient, but its derivative in every parameter is zero: the gradient does not vary "
                    "with the parameters here (second derivatives of a piecewise linear network, the direction of a linear one).",
                    f"‖∂term/∂θ‖ = 0, while ‖∂loss/∂g‖ = {reached.pull:.3g}",
                    "use a smooth activation (SiLU, softplus, tanh) where the term needs a second derivative in the input",
                    (call.site,),
                )


def _training(facts: Facts) -> Iterator[GradientCall]:
    """The backward passes whose gradients were stepped along."""
    return (call for call in facts.calls if call.kind == "backward" and call.stepped)
