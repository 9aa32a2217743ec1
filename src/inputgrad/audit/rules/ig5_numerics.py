"""IG5, numerics: norms without a derivative, loss scaling that enters the penalty, signs of what underflowed."""

import math
from collections.abc import Iterator

from inputgrad.audit.facts import Facts, GradientCall, Reached, Source
from inputgrad.audit.findings import Finding, rule
from inputgrad.audit.reading import DIRECTIONS, OVER, is_norm, is_root, is_square, times, trained
from inputgrad.audit.sites import Site
from inputgrad.audit.trails import Use

_SHARE, _UNDERFLOW = 0.05, 1e-6


@rule("IG501", "NaN in the second backward")
def not_finite(facts: Facts) -> Iterator[Finding]:
    """The input gradient is finite, and the loss's derivative in it, or through it, is not: a root or a quotient at zero."""
    for call in facts.calls:
        for reached in call.alive:
            source = reached.source
            if not math.isfinite(source.norm) or (call.scaled and not source.zero_rows):
                continue
            if _lost(reached.pull) or (reached.pull is None and call.not_finite and source.zero_rows and _at_zero(source)):
                yield _root_at_zero(call, reached)
            elif reached.pull is not None and _lost(reached.effect):
                yield Finding(
                    "IG501",
                    "error",
                    source.site,
                    "the second backward through this input gradient gives NaN, though the gradient is finite: the network holds an operation without a second "
                    "derivative where it is (a norm or sqrt at zero, a distance of a point to itself).",
                    f"‖∂loss/∂g‖ = {reached.pull:.3g}, ‖∂term/∂θ‖ = {reached.effect}",
                    "in the network: torch.sqrt(square_sum + 1e-12), or leave the pairs at distance zero out before the root",
                    (call.site,),
                )


@rule("IG502", "loss scaling in the penalty")
def scaled(facts: Facts) -> Iterator[Finding]:
    """The input gradient of a scaled loss enters a penalty as it comes; or a penalty's own gradient misses the scale that the step divides by."""
    for call, reached in trained(facts):
        source, scale = reached.source, reached.source.call.scale
        sensitive = next((use for use in source.uses if is_norm(use) or is_square(use) or use.name == "abs"), None)
        if scale != 1 and sensitive is not None and not (times(source, 1 / scale) or times(source, 1 / scale**2) or _divided(source)):
            yield Finding(
                "IG502",
                "error",
                source.site,
                f"this is the input gradient of a loss that GradScaler multiplied by {scale:g}, and it enters the penalty at {sensitive.site.shown} so: "
                "the penalty's size and the weight between the terms follow the scale, which changes during training.",
                f"mean ‖g_i‖ = {source.row_norm:.3g}, {source.row_norm / scale:.3g} without the scale",
                "input_grad = input_grad * (1.0 / scaler.get_scale())",
                (sensitive.site, call.site),
            )
    yield from _unscaled(facts)


def _unscaled(facts: Facts) -> Iterator[Finding]:
    """Steps in which scaled gradients met others in ``.grad``, or were never divided by the scale."""
    unscaled = [event for event in facts.events if event.name == "unscaled"]
    for step in facts.steps:
        with_scale = [call for call in step.shares if call.scale != 1]
        for call in step.shares:
            event = next((event for event in unscaled if event.step == call.step and event.detail["calls"] > call.number), None)
            if with_scale and call.alive and call.scale == 1 and event is not None:
                yield _finding(
                    call.site,
                    "this backward pass goes without GradScaler, and the step divides all gradients by the scale: the penalty counts "
                    f"{event.detail['scale']:g} times less than it says.",
                    f"its share of .grad is {step.shares[call]:.3g}, of which {step.shares[call] / event.detail['scale']:.3g} is left",
                    "scaler.scale(loss + penalty).backward()",
                    (event.site,),
                )
            elif call.scale != 1 and call.alive and not unscaled and step.norm > 0.5 * step.shares[call]:
                yield _finding(
                    call.site,
                    f"the gradients of this loss, scaled by {call.scale:g}, are stepped along without being divided by the scale.",
                    f"‖.grad‖ = {step.norm:.3g} at the step, {step.norm / call.scale:.3g} without the scale",
                    "scaler.step(optimizer) in place of optimizer.step()",
                    (step.site,),
                )


@rule("IG503", "sign of an underflowed float16 gradient", "warning")
def signs(facts: Facts) -> Iterator[Finding]:
    """Gradients too small for float16 are zero, and the sign of zero is zero: these values are not moved."""
    for source in facts.sources:
        half = source.dtype == "float16" or source.call.half
        sign = next((use for use in source.uses if use.name in ("sign", "sgn", "sign_")), None)
        if half and sign is not None and source.zero_share >= _SHARE and source.smallest < _UNDERFLOW:
            yield Finding(
                "IG503",
                "warning",
                sign.site,
                "the sign is taken of a gradient that was computed in float16, where what is smaller than 6e-8 is zero, and the sign of zero is zero.",
                f"{source.zero_share:.0%} of its values are exactly zero, the smallest other one is {source.smallest:.1e}",
                "scaler.scale(loss) before the gradient (a sign needs no unscaling), or float32 or bfloat16 for the attack's pass",
                (source.site,),
            )


def _root_at_zero(call: GradientCall, reached: Reached) -> Finding:
    source = reached.source
    use = _at_zero(source)
    rows = f"{source.zero_rows} of {source.samples} rows of the gradient are zero" if source.zero_rows else "no row of the gradient is zero as a whole"
    return Finding(
        "IG501",
        "error",
        source.site if use is None else use.site,
        "the penalty has no derivative at a gradient of zero: the backward pass through this root or quotient gives NaN, and every parameter becomes NaN.",
        f"{rows}; ‖∂loss/∂g‖ = {reached.pull if reached.pull is not None else 'not finite'}",
        "input_grad.flatten(1).norm(dim=1), whose derivative at zero is 0 in torch; or torch.sqrt(square_sum + 1e-12)",
        (source.site, call.site),
    )


def _at_zero(source: Source) -> Use | None:
    """The first operation on it that has no derivative at zero, or no value."""
    return next((use for use in source.uses if is_root(use) or use.name == "log" or (use.name in OVER and not use.numbers)), None)


def _divided(source: Source) -> bool:
    return any(use.name in DIRECTIONS for use in source.uses)


def _lost(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _finding(site: Site, message: str, measured: str, write: str, related: tuple[Site, ...]) -> Finding:
    return Finding("IG502", "error", site, message, measured, write, related)
