"""IG3, the scale: gradients that are divided by the batch size, norms over the wrong dimensions, the gradient of the wrong output."""

import math
from collections.abc import Iterator

from inputgrad.audit.call_sites import Site
from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import InputGradient
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.observations.tensor_origins import Operation
from inputgrad.audit.operation_patterns import (
    DIRECTIONS,
    LOSSES,
    MINUS,
    OVER,
    TIMES,
    in_the_loss,
    is_norm,
    is_root,
    is_square,
    mixed,
    norm_uses,
    sums_rows,
    target,
    times,
    trained,
)
from inputgrad.audit.replacements import norms, outputs
from inputgrad.audit.rule_registry import rule
from inputgrad.audit.torch_internals import LOG_SOFTMAX_NODE, SOFTMAX_NODE


@rule("IG301", "gradients of a mean taken as gradients of the samples")
def of_a_mean(facts: Facts) -> Iterator[Finding]:
    """Each sample's gradient is divided by the batch size, because the loss is a mean, and a penalty takes it as it comes."""
    for call, live in trained(facts):
        gradient = in_the_loss(live)
        count = gradient.call.root.mean_over or 1
        if count != gradient.samples or count < 2 or _scale_free(gradient) or times(gradient, count) or times(gradient, count**2):
            continue
        operation = _taken(facts, gradient, live.gradient)
        if operation is None:
            continue
        wanted, too_small = _target_of_norm(gradient), count ** _means(gradient, count)
        if wanted is not None:
            severity, then = "error", f"the penalty pulls the samples' own norms to {wanted * too_small:g} in place of {wanted:g}"
        elif operation.name in LOSSES | MINUS:
            severity, then = "warning", "what it is compared with belongs to one sample each"
        else:
            power = _means(gradient, count) * (2 if sum(map(is_square, gradient.operations)) > sum(map(is_root, gradient.operations)) else 1)
            severity, then = (
                "warning",
                f"the penalty's weight is divided by {'N² = ' if power == 2 else ''}{count**power} and changes its meaning with the batch size",
            )
        yield Finding(
            "IG301",
            severity,  # type: ignore[arg-type]  # one of the severities, by its callers
            gradient.site,
            f"what is differentiated here is a mean over N = {count} samples, so each sample's gradient is {too_small} times too small in "
            f"{operation.site.shown}: {then}.",
            f"mean ‖g_i‖ = {gradient.sizes.row_norm:.3g} here, {gradient.sizes.row_norm * too_small:.3g} for the loss of one sample",
            outputs.of_the_sum(gradient.call.site) or 'differentiate the sum (loss.sum(), reduction="sum"), or multiply the gradient by the batch size',
            (operation.site, call.site),
            effect=too_small - 1.0,
        )


@rule("IG302", "norm over the whole batch", "warning")
def whole_batch(facts: Facts) -> Iterator[Finding]:
    """One norm of the gradients of all samples together, where each sample has its own."""
    for call, live in trained(facts):
        gradient = in_the_loss(live)
        if not sums_rows(gradient) or math.prod(gradient.shape) == gradient.samples or times(gradient, gradient.samples):
            continue
        for position, operation, shape in norm_uses(gradient):
            over_rows = operation.dims == (1,) and (shape == (1, *gradient.shape) or (shape == gradient.shape and _of_points(gradient)))
            if not (over_rows or (operation.result == () and math.prod(shape) == math.prod(gradient.shape))):
                continue
            if mixed(gradient.operations[:position], gradient.shape) or (operation.name == "mean") or _divides(gradient, position):
                continue
            wanted = target(gradient, position)
            if wanted is None and any(later.shape == () and is_square(later) and later.numbers for later in gradient.operations[position + 1 :]):
                continue  # the square of one norm is the sum of the samples' squares
            yield _over_samples(gradient, operation, shape, wanted, call.site) if over_rows else _over_batch(gradient, operation, wanted, call.site)
            break


def _over_batch(gradient: InputGradient, operation: Operation, wanted: float | None, loss: Site) -> Finding:
    then = "it grows with √N, and couples the samples" if wanted is None else f"pulled to {wanted:g}, the samples' own norms go to about {wanted:g}/√N"
    return Finding(
        "IG302",
        "warning" if wanted is None else "error",
        operation.site,
        f"this norm runs over the whole batch of N = {gradient.samples} gradients, not over each sample's: {then}.",
        f"{gradient.sizes.norm:.3g} over the batch, {gradient.sizes.row_norm:.3g} in the mean over samples",
        norms.each_samples(operation.site) or "input_grad.flatten(1).norm(dim=1), and the mean of what is made of each",
        (gradient.site, loss),
        effect=gradient.sizes.norm / gradient.sizes.row_norm - 1 if gradient.sizes.row_norm else None,
    )


def _over_samples(gradient: InputGradient, operation: Operation, shape: tuple[int, ...], wanted: float | None, loss: Site) -> Finding:
    return Finding(
        "IG302",
        "warning" if wanted is None else "error",
        operation.site,
        f"this norm runs over dim 1 of the shape {shape}, which counts {shape[1]} samples, not over the values of each sample's gradient.",
        f"{math.prod(operation.result)} norms in place of {math.prod(shape[:-1])}",
        "torch.cat in place of torch.stack for the inputs, or input_grad.norm(dim=-1)",
        (gradient.site, loss),
    )


@rule("IG303", "norm over the channels")
def over_channels(facts: Facts) -> Iterator[Finding]:
    """``norm(dim=1)`` of an image's gradient: a norm for each pixel, where one for each sample was meant."""
    for call, live in trained(facts):
        gradient = in_the_loss(live)
        shape = gradient.shape
        if len(shape) not in (4, 5) or gradient.call.root.values[-2:] == shape[-2:] or math.prod(shape[2:]) == 1:
            continue  # a field: one value at each position, and its gradient there
        for position, operation, over in norm_uses(gradient):
            if over != shape or operation.dims not in ((1,), (1 - len(shape),)) or operation.result not in ((shape[0], *shape[2:]), (shape[0], 1, *shape[2:])):
                continue
            wanted = target(gradient, position)
            if wanted is None and _weighted_or_squared(gradient, position):
                continue
            many = math.prod(operation.result)
            yield Finding(
                "IG303",
                "error" if wanted is not None else "warning",
                operation.site,
                f"norm over dim 1 of a gradient of shape {tuple(shape)}: that is over the channels, {many} norms in place of {shape[0]}"
                + (f"; each pixel's is pulled to {wanted:g}, the sample's to {wanted * math.sqrt(many / shape[0]):.3g}." if wanted is not None else "."),
                f"mean norm {gradient.sizes.channel_norm:.3g} over channels, {gradient.sizes.row_norm:.3g} over each sample",
                norms.over_samples(operation.site) or "input_grad.flatten(1).norm(2, dim=1)",
                (gradient.site, call.site),
                effect=gradient.sizes.row_norm / gradient.sizes.channel_norm - 1 if gradient.sizes.channel_norm else None,
            )
            break


@rule("IG304", "gradient of the sum of all outputs of a classifier", "warning")
def of_all_outputs(facts: Facts) -> Iterator[Finding]:
    """All logits are summed before the gradient, where the loss of the same run speaks of the label's."""
    classes = {(event.detail["classes"], event.detail["by"]): event.site for event in facts.events if event.name == "cross entropy"}
    for gradient in facts.input_gradients:
        call = gradient.call
        if call.root.summed_outputs is None or not gradient.reached:
            continue
        if call.root.values_by.startswith(SOFTMAX_NODE) and gradient.sizes.norm < 1e-5:
            yield _probabilities(gradient, call.root.summed_outputs)
            continue
        if call.root.values_by.startswith(LOG_SOFTMAX_NODE):  # of which a shift of all logits changes nothing
            continue
        loss = classes.get((call.root.summed_outputs, call.root.values_by))
        if loss is not None:
            yield Finding(
                "IG304",
                "warning",
                gradient.site,
                f"this is the gradient of the sum of all {call.root.summed_outputs} outputs, while the loss at {loss.shown} goes by the label's. "
                "The sum mixes every class; a shift of all logits alone changes it, which changes no prediction.",
                write=outputs.of_the_label(call.site, loss)
                or 'torch.autograd.grad(F.cross_entropy(output, y, reduction="sum"), x, create_graph=True)\n'
                "or the label's output: output.gather(1, y[:, None]).sum()",
                related=(loss,),
            )


def _probabilities(gradient: InputGradient, classes: int) -> Finding:
    return Finding(
        "IG304",
        "error",
        gradient.site,
        f"this is the gradient of the sum of {classes} probabilities, which is 1 whatever the input: it is zero.",
        f"‖g‖ = {gradient.sizes.norm:.2g}",
        "probabilities.gather(1, y[:, None]).sum()",
    )


def _taken(facts: Facts, gradient: InputGradient, whole: InputGradient) -> Operation | None:
    """The operation that depends on the gradient's scale: a target it is compared with, a norm of each sample, a square."""
    shared = {
        id(operation)
        for other in facts.input_gradients
        if other is not whole and other.call.root.mean_over == gradient.call.root.mean_over
        for operation in other.operations
    }
    for operation in gradient.operations:
        matched = operation.name in LOSSES | MINUS and not any(operation.numbers) and operation.shape == gradient.shape
        if matched and id(operation) in shared:
            return None  # another such gradient: both are divided alike
        if matched or (is_norm(operation) and operation.result != ()) or is_square(operation):
            return operation
    return None


def _means(gradient: InputGradient, count: int) -> int:
    """How many of the derivatives, this one and those that it is a derivative of, are of a mean over as many."""
    above = gradient.second_of
    return int(gradient.call.root.mean_over == count) + (0 if above is None else _means(above, count))


def _target_of_norm(gradient: InputGradient) -> float | None:
    return next(
        (wanted for position, operation, _ in norm_uses(gradient) if operation.result != () and (wanted := target(gradient, position)) is not None), None
    )


def _scale_free(gradient: InputGradient) -> bool:
    return any(
        operation.name in DIRECTIONS or (operation.name in OVER and not operation.numbers and operation.shape == operation.result == gradient.shape)
        for operation in gradient.operations
    )


def _of_points(gradient: InputGradient) -> bool:
    """Whether dim 1 counts samples too: the network was asked along the last dimension, once at each place of all others."""
    shape, values = gradient.shape, gradient.call.root.values
    return len(shape) > 2 and shape[1] > 1 and values in (shape[:-1], (*shape[:-1], 1))


def _divides(gradient: InputGradient, position: int) -> bool:
    return any(operation.name in OVER and not operation.numbers and operation.result == gradient.shape for operation in gradient.operations[position + 1 :])


def _weighted_or_squared(gradient: InputGradient, position: int) -> bool:
    """Whether each pixel's norm was weighted by a map, or squared: then it is the sum over all dimensions in two steps."""
    shape = gradient.operations[position].result
    return any(operation.shape == shape and (operation.name in TIMES or is_square(operation)) for operation in gradient.operations[position + 1 :])
