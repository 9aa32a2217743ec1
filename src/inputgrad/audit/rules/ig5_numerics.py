"""IG5, numerics: norms without a derivative, loss scaling that enters the penalty, signs of what underflowed."""

import math
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import GradientCall, InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import LiveTerm, Operation
from inputgrad.audit.operation_patterns import DIRECTIONS, OVER, is_norm, is_root, is_square, times, trained
from inputgrad.audit.replacements import norms, steps
from inputgrad.audit.rule_registry import rule

_SHARE, _UNDERFLOW = 0.05, 1e-6


@rule("IG501", "NaN in the second backward")
def not_finite(facts: Facts) -> Iterator[Finding]:
    """The input gradient is finite, and the loss's derivative in it, or through it, is not: a root or a quotient at zero."""
    for call in facts.calls:
        for live in call.graph.live_terms:
            gradient = live.gradient
            if not math.isfinite(gradient.sizes.norm) or (call.root.scaled and not gradient.sizes.zero_rows):
                continue
            if _lost(live.pull) or (live.pull is None and call.fate.not_finite and gradient.sizes.zero_rows and _at_zero(gradient)):
                yield _root_at_zero(call, live)
            elif live.pull is not None and _lost(live.effect):
                yield Finding(
                    "IG501",
                    "error",
                    gradient.site,
                    "the second backward through this input gradient gives NaN, though the gradient is finite: the network holds an operation without a second "
                    "derivative where it is (a norm or sqrt at zero, a distance of a point to itself).",
                    f"‖∂loss/∂g‖ = {live.pull:.3g}, ‖∂term/∂θ‖ = {live.effect}",
                    "in the network: torch.sqrt(square_sum + 1e-12), or leave the pairs at distance zero out before the root",
                    (call.site,),
                    effect=math.inf,
                )


@rule("IG502", "loss scaling in the penalty")
def scaled(facts: Facts) -> Iterator[Finding]:
    """The input gradient of a scaled loss enters a penalty as it comes; or a penalty's own gradient misses the scale that the step divides by."""
    for call, live in trained(facts):
        gradient, scale = live.gradient, live.gradient.call.root.scale
        sensitive = next((operation for operation in gradient.operations if is_norm(operation) or is_square(operation) or operation.name == "abs"), None)
        if scale != 1 and sensitive is not None and not (times(gradient, 1 / scale) or times(gradient, 1 / scale**2) or _divided(gradient)):
            yield Finding(
                "IG502",
                "error",
                gradient.site,
                f"this is the input gradient of a loss that GradScaler multiplied by {scale:g}, and it enters the penalty at {sensitive.site.shown} so: "
                "the penalty's size and the weight between the terms follow the scale, which changes during training.",
                f"mean ‖g_i‖ = {gradient.sizes.row_norm:.3g}, {gradient.sizes.row_norm / scale:.3g} without the scale",
                steps.unscaled(gradient.site) or "input_grad = input_grad * (1.0 / scaler.get_scale())",
                (sensitive.site, call.site),
                effect=scale,
            )
    yield from _unscaled(facts)


def _unscaled(facts: Facts) -> Iterator[Finding]:
    """Steps in which scaled gradients met others in ``.grad``, or were never divided by the scale."""
    unscaled = [event for event in facts.events if event.name == "unscaled"]
    for step in facts.steps:
        with_scale = [call for call in step.shares if call.root.scale != 1]
        for call in step.shares:
            event = next((event for event in unscaled if event.step == call.step and event.detail["calls"] > call.number), None)
            if with_scale and call.graph.live_terms and call.root.scale == 1 and event is not None:
                yield _finding(
                    call.site,
                    "this backward pass goes without GradScaler, and the step divides all gradients by the scale: the penalty counts "
                    f"{event.detail['scale']:g} times less than it says.",
                    f"its share of .grad is {step.shares[call]:.3g}, of which {step.shares[call] / event.detail['scale']:.3g} is left",
                    steps.scaled(call.site) or "scaler.scale(loss + penalty).backward()",
                    (event.site,),
                )
            elif call.root.scale != 1 and call.graph.live_terms and not unscaled and step.norm > 0.5 * step.shares[call]:
                yield _finding(
                    call.site,
                    f"the gradients of this loss, scaled by {call.root.scale:g}, are stepped along without being divided by the scale.",
                    f"‖.grad‖ = {step.norm:.3g} at the step, {step.norm / call.root.scale:.3g} without the scale",
                    steps.stepped_by_the_scaler(step.site) or "scaler.step(optimizer) in place of optimizer.step()",
                    (step.site,),
                )


@rule("IG503", "sign of an underflowed float16 gradient", "warning")
def signs(facts: Facts) -> Iterator[Finding]:
    """Gradients too small for float16 are zero, and the sign of zero is zero: these values are not moved."""
    for gradient in facts.input_gradients:
        half = gradient.dtype == "float16" or gradient.call.graph.half
        sign = next((operation for operation in gradient.operations if operation.name in ("sign", "sgn", "sign_")), None)
        if half and sign is not None and gradient.sizes.zero_share >= _SHARE and gradient.sizes.smallest < _UNDERFLOW:
            yield Finding(
                "IG503",
                "warning",
                sign.site,
                "the sign is taken of a gradient that was computed in float16, where what is smaller than 6e-8 is zero, and the sign of zero is zero.",
                f"{gradient.sizes.zero_share:.0%} of its values are exactly zero, the smallest other one is {gradient.sizes.smallest:.1e}",
                "scaler.scale(loss) before the gradient (a sign needs no unscaling), or float32 or bfloat16 for the attack's pass",
                (gradient.site,),
            )


def _root_at_zero(call: GradientCall, live: LiveTerm) -> Finding:
    gradient = live.gradient
    operation = _at_zero(gradient)
    rows = (
        f"{gradient.sizes.zero_rows} of {gradient.samples} rows of the gradient are zero"
        if gradient.sizes.zero_rows
        else "no row of the gradient is zero as a whole"
    )
    return Finding(
        "IG501",
        "error",
        gradient.site if operation is None else operation.site,
        "the penalty has no derivative at a gradient of zero: the backward pass through this root or quotient gives NaN, and every parameter becomes NaN.",
        f"{rows}; ‖∂loss/∂g‖ = {live.pull if live.pull is not None else 'not finite'}",
        norms.kept_from_zero(operation.site if operation is not None else gradient.site)
        or "input_grad.flatten(1).norm(dim=1), whose derivative at zero is 0 in torch; or torch.sqrt(square_sum + 1e-12)",
        (gradient.site, call.site),
        effect=math.inf,
    )


def _at_zero(gradient: InputGradient) -> Operation | None:
    """The first operation on it that has no derivative at zero, or no value."""
    return next(
        (operation for operation in gradient.operations if is_root(operation) or operation.name == "log" or (operation.name in OVER and not operation.numbers)),
        None,
    )


def _divided(gradient: InputGradient) -> bool:
    return any(operation.name in DIRECTIONS for operation in gradient.operations)


def _lost(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _finding(site: Site, message: str, measured: str, write: str, related: tuple[Site, ...]) -> Finding:
    return Finding("IG502", "error", site, message, measured, write, related)
