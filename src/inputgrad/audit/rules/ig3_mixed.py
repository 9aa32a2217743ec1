"""IG3, the scale, of second derivatives: all first derivatives differentiated together, and the columns of the result taken for the second ones."""

import math
from collections.abc import Iterator

from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import Operation
from inputgrad.audit.operation_patterns import in_the_loss, trained
from inputgrad.audit.replacements import outputs
from inputgrad.audit.rule_registry import rule

_OFF = 0.01
"""So far, relative to them, what was taken is from the second derivatives; below that the variables do not mix."""
_PICKING = ("__getitem__", "select", "narrow", "index_select", "gather")
_TAKING_APART = ("split", "chunk", "unbind", "tensor_split", "hsplit")


@rule("IG305", "mixed second derivatives among those that were meant")
def mixed(facts: Facts) -> Iterator[Finding]:
    """``grad(du, x, ones_like(du))`` with ``du`` of several columns differentiates their sum: column 0 is u_xx + u_xy."""
    for call, live in trained(facts):
        gradient, off = in_the_loss(live), live.gradient.call.graph.mixed
        whole = [operation for operation in gradient.operations if operation.shape == gradient.shape]
        if off is None or off < _OFF or not any(_by_column(operation, gradient, operation is whole[0]) for operation in whole):
            continue
        many = gradient.shape[1]
        yield Finding(
            "IG305",
            "error",
            gradient.site,
            f"what is differentiated here is the sum of {many} first derivatives, so each column of the result is a second derivative plus mixed ones "
            f"(u_xx + u_xy, not u_xx).",
            f"the columns are off by {off:.0%} of the second derivatives in this run",
            outputs.of_each_column(gradient.call.site)
            or "differentiate one column at a time and take its own: u_xx = torch.autograd.grad(du[:, 0].sum(), x, create_graph=True)[0][:, 0]",
            (call.site,),
            effect=off,
        )


def _by_column(operation: Operation, gradient: InputGradient, at_once: bool) -> bool:
    """Whether columns are taken out, or summed as they are."""
    if operation.name == "sum":
        return at_once and operation.dims in ((1,), (-1,))
    fewer = math.prod(operation.result) < math.prod(operation.shape) and operation.result[:1] == gradient.shape[:1]
    return operation.name in _TAKING_APART or (operation.name in _PICKING and fewer)
