"""IG3, the scale: gradients that are divided by the batch size, norms over the wrong dimensions, the gradient of the wrong output."""

import math
from collections.abc import Iterator

from inputgrad.audit.facts import Facts, Source
from inputgrad.audit.findings import Finding, rule
from inputgrad.audit.reading import DIRECTIONS, LOSSES, MINUS, OVER, TIMES, is_norm, is_root, is_square, mixed, norm_uses, sums_rows, target, times, trained
from inputgrad.audit.sites import Site
from inputgrad.audit.trails import Use


@rule("IG301", "gradients of a mean taken as gradients of the samples")
def of_a_mean(facts: Facts) -> Iterator[Finding]:
    """Each sample's gradient is divided by the batch size, because the loss is a mean, and a penalty takes it as it comes."""
    for call, reached in trained(facts):
        source = reached.source
        count = source.call.mean_over or 1
        if count != source.samples or count < 2 or _scale_free(source) or times(source, count) or times(source, count**2):
            continue
        use = _taken(facts, source)
        if use is None:
            continue
        wanted = _target_of_norm(source)
        if wanted is not None:
            severity, then = "error", f"the penalty pulls the samples' own norms to {wanted * count:g} in place of {wanted:g}"
        elif use.name in LOSSES | MINUS:
            severity, then = "warning", "what it is compared with belongs to one sample each"
        else:
            power = 2 if sum(map(is_square, source.uses)) > sum(map(is_root, source.uses)) else 1
            severity, then = (
                "warning",
                f"the penalty's weight is divided by {'N² = ' if power == 2 else ''}{count**power} and changes its meaning with the batch size",
            )
        yield Finding(
            "IG301",
            severity,  # type: ignore[arg-type]  # one of the severities, by its callers
            source.site,
            f"what is differentiated here is a mean over N = {count} samples, so each sample's gradient is {count} times too small in "
            f"{use.site.shown}: {then}.",
            f"mean ‖g_i‖ = {source.row_norm:.3g} here, {source.row_norm * count:.3g} for the loss of one sample",
            'differentiate the sum (loss.sum(), reduction="sum"), or multiply the gradient by the batch size',
            (use.site, call.site),
        )


@rule("IG302", "norm over the whole batch", "warning")
def whole_batch(facts: Facts) -> Iterator[Finding]:
    """One norm of the gradients of all samples together, where each sample has its own."""
    for call, reached in trained(facts):
        source = reached.source
        if not sums_rows(source) or math.prod(source.shape) == source.samples or times(source, source.samples):
            continue
        for position, use, shape in norm_uses(source):
            over_rows = use.dims == (1,) and (shape == (1, *source.shape) or (shape == source.shape and _of_points(source)))
            if not (over_rows or (use.result == () and math.prod(shape) == math.prod(source.shape))):
                continue
            if mixed(source.uses[:position], source.shape) or (use.name == "mean") or _divides(source, position):
                continue
            wanted = target(source, position)
            if wanted is None and any(later.shape == () and is_square(later) and later.numbers for later in source.uses[position + 1 :]):
                continue  # the square of one norm is the sum of the samples' squares
            yield _over_samples(source, use, shape, wanted, call.site) if over_rows else _over_batch(source, use, wanted, call.site)
            break


def _over_batch(source: Source, use: Use, wanted: float | None, loss: Site) -> Finding:
    then = "it grows with √N, and couples the samples" if wanted is None else f"pulled to {wanted:g}, the samples' own norms go to about {wanted:g}/√N"
    return Finding(
        "IG302",
        "warning" if wanted is None else "error",
        use.site,
        f"this norm runs over the whole batch of N = {source.samples} gradients, not over each sample's: {then}.",
        f"{source.norm:.3g} over the batch, {source.row_norm:.3g} in the mean over samples",
        "input_grad.flatten(1).norm(dim=1)",
        (source.site, loss),
    )


def _over_samples(source: Source, use: Use, shape: tuple[int, ...], wanted: float | None, loss: Site) -> Finding:
    return Finding(
        "IG302",
        "warning" if wanted is None else "error",
        use.site,
        f"this norm runs over dim 1 of the shape {shape}, which counts {shape[1]} samples, not over the values of each sample's gradient.",
        f"{math.prod(use.result)} norms in place of {math.prod(shape[:-1])}",
        "torch.cat in place of torch.stack for the inputs, or input_grad.norm(dim=-1)",
        (source.site, loss),
    )


@rule("IG303", "norm over the channels")
def over_channels(facts: Facts) -> Iterator[Finding]:
    """``norm(dim=1)`` of an image's gradient: a norm for each pixel, where one for each sample was meant."""
    for call, reached in trained(facts):
        source = reached.source
        shape = source.shape
        if len(shape) not in (4, 5) or source.call.values[-2:] == shape[-2:] or math.prod(shape[2:]) == 1:
            continue  # a field: one value at each position, and its gradient there
        for position, use, over in norm_uses(source):
            if over != shape or use.dims not in ((1,), (1 - len(shape),)) or use.result not in ((shape[0], *shape[2:]), (shape[0], 1, *shape[2:])):
                continue
            wanted = target(source, position)
            if wanted is None and _weighted_or_squared(source, position):
                continue
            many = math.prod(use.result)
            yield Finding(
                "IG303",
                "error" if wanted is not None else "warning",
                use.site,
                f"norm over dim 1 of a gradient of shape {tuple(shape)}: that is over the channels, {many} norms in place of {shape[0]}"
                + (f"; each pixel's is pulled to {wanted:g}, the sample's to {wanted * math.sqrt(many / shape[0]):.3g}." if wanted is not None else "."),
                f"mean norm {source.channel_norm:.3g} over channels, {source.row_norm:.3g} over each sample",
                "input_grad.flatten(1).norm(2, dim=1)",
                (source.site, call.site),
            )
            break


@rule("IG304", "gradient of the sum of all outputs of a classifier", "warning")
def of_all_outputs(facts: Facts) -> Iterator[Finding]:
    """All logits are summed before the gradient, where the loss of the same run speaks of the label's."""
    classes = {(event.detail["classes"], event.detail["by"]): event.site for event in facts.events if event.name == "cross entropy"}
    for source in facts.sources:
        call = source.call
        if call.summed_outputs is None or not source.reached:
            continue
        if call.values_by.startswith("SoftmaxBackward") and source.norm < 1e-5:
            yield _probabilities(source, call.summed_outputs)
            continue
        loss = classes.get((call.summed_outputs, call.values_by))
        if loss is not None:
            yield Finding(
                "IG304",
                "warning",
                source.site,
                f"this is the gradient of the sum of all {call.summed_outputs} outputs, while the loss at {loss.shown} goes by the label's. "
                "The sum mixes every class; a shift of all logits alone changes it, which changes no prediction.",
                write='torch.autograd.grad(F.cross_entropy(output, y, reduction="sum"), x, create_graph=True)\n'
                "or the label's output: output.gather(1, y[:, None]).sum()",
                related=(loss,),
            )


def _probabilities(source: Source, classes: int) -> Finding:
    return Finding(
        "IG304",
        "error",
        source.site,
        f"this is the gradient of the sum of {classes} probabilities, which is 1 whatever the input: it is zero.",
        f"‖g‖ = {source.norm:.2g}",
        "probabilities.gather(1, y[:, None]).sum()",
    )


def _taken(facts: Facts, source: Source) -> Use | None:
    """The operation that depends on the gradient's scale: a target it is compared with, a norm of each sample, a square."""
    shared = {id(use) for other in facts.sources if other is not source and other.call.mean_over == source.call.mean_over for use in other.uses}
    for use in source.uses:
        matched = use.name in LOSSES | MINUS and not any(use.numbers) and use.shape == source.shape
        if matched and id(use) in shared:
            return None  # another such gradient: both are divided alike
        if matched or (is_norm(use) and use.result != ()) or is_square(use):
            return use
    return None


def _target_of_norm(source: Source) -> float | None:
    return next((found for position, use, _ in norm_uses(source) if use.result != () and (found := target(source, position)) is not None), None)


def _scale_free(source: Source) -> bool:
    return any(use.name in DIRECTIONS or (use.name in OVER and not use.numbers and use.shape == use.result == source.shape) for use in source.uses)


def _of_points(source: Source) -> bool:
    """Whether dim 1 counts samples too: the network was asked along the last dimension, once at each place of all others."""
    shape, values = source.shape, source.call.values
    return len(shape) > 2 and shape[1] > 1 and values in (shape[:-1], (*shape[:-1], 1))


def _divides(source: Source, position: int) -> bool:
    return any(use.name in OVER and not use.numbers and use.result == source.shape for use in source.uses[position + 1 :])


def _weighted_or_squared(source: Source, position: int) -> bool:
    """Whether each pixel's norm was weighted by a map, or squared: then it is the sum over all dimensions in two steps."""
    shape = source.uses[position].result
    return any(use.shape == shape and (use.name in TIMES or is_square(use)) for use in source.uses[position + 1 :])
