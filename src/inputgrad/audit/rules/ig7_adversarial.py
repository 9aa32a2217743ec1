"""IG7, adversarial training: how an input is moved along its gradient.

What is seen: a gradient (or what comes from it) added to the input that it is the gradient by. Not taken: the sign of the step at odds with the intent, since
targeted attacks, sampling and input optimisation all step down, and names alone are no evidence.
"""

from collections.abc import Iterator

from inputgrad.audit.facts import Facts, Pass, Source
from inputgrad.audit.findings import Finding, rule
from inputgrad.audit.trails import Use


@rule("IG701", "perturbation with a graph", "note")
def not_detached(facts: Facts) -> Iterator[Finding]:
    """The step that moves the input carries its graph into the loss. Meant where the step is unrolled; a constant in FGSM, PGD and their kind."""
    for call in facts.calls:
        for reached in call.alive if call.kind == "backward" and call.stepped else ():
            move = _move(reached.source, "alive")
            taken = any(use.span is not None for use in reached.source.uses)  # by a layer, as its input: not as weights that an inner step made
            if move is None or not taken or not reached.pull or reached.source.second_of is not None:
                continue
            effect = "" if reached.effect is None else f"‖∂loss/∂θ‖ through the step alone = {reached.effect:.3g}, of {call.contributed:.3g} in all"
            yield Finding(
                "IG701",
                "note",
                move.site,
                f"the step that moves the input here carries its graph, so the loss of {call.site.shown} also trains the parameters to change the step.",
                effect,
                "gradient.detach() in the step, without create_graph=True, where the perturbation is a constant (FGSM, PGD)",
                (reached.source.site, call.site),
            )


@rule("IG702", "attack on a network in another mode", "warning")
def mode(facts: Facts) -> Iterator[Finding]:
    """The input is moved along the gradient of a network with dropout or BatchNorm in training mode, and then judged by the network in evaluation mode.

    The same mode in both is disputed among maintainers, and not told.
    """
    for source in facts.sources:
        move = _move(source, "cut") or _move(source, "alive")
        if move is None or not _attacks(source) or source.call.transform:  # whose passes are not seen
            continue
        during = [item for item in facts.passes if item.number == source.call.number and item.training and item.requires_grad]
        after = [item for item in facts.passes if item.number > source.call.number and item.step == source.call.step]
        judged = next((item for item in after if _same_layer(item, during)), None)
        if judged is None or judged.training:
            continue
        kinds = " and ".join(sorted({"BatchNorm" if item.kind == "batch_norm" else "dropout" for item in during}))
        yield Finding(
            "IG702",
            "warning",
            source.site,
            f"the perturbation is made against the network with {kinds} in training mode, and judged at {judged.site.shown} by the network in evaluation mode: "
            "two different functions, so the attack is weaker than it could be.",
            write="model.eval() before the attack, and the former mode after it",
            related=(move.site, judged.site),
        )


@rule("IG703", "perturbed input out of bounds", "note")
def bounds(facts: Facts) -> Iterator[Finding]:
    """The inputs all lie in [0, 1], and the model takes perturbed ones that do not."""
    for source in facts.sources:
        move = _move(source, "cut") or _move(source, "alive")
        if move is None or source.span is None or not _attacks(source) or not (source.span[0] >= 0 and source.span[1] <= 1 and source.span[1] > source.span[0]):
            continue
        taken = next((use for use in source.uses if use.span is not None and (use.span[0] < -1e-6 or use.span[1] > 1 + 1e-6)), None)
        if taken is not None and taken.span is not None:
            yield Finding(
                "IG703",
                "note",
                move.site,
                f"the inputs lie in [0, 1], and the perturbed ones that the model takes at {taken.site.shown} do not.",
                f"inputs in [{source.span[0]:.3g}, {source.span[1]:.3g}], perturbed in [{taken.span[0]:.3g}, {taken.span[1]:.3g}]",
                "perturbed.clamp(0, 1), where the data is images",
                (taken.site,),
            )


def _move(source: Source, how: str) -> Use | None:
    """Where the input was moved along this gradient."""
    for number, use in enumerate(source.uses):
        cut_after = any(later.name in ("detach", "data") and later.shape == source.shape for later in source.uses[number + 1 :])
        if use.moves and ("cut" if cut_after else use.moves) == how:
            return use
    return None


def _attacks(source: Source) -> bool:
    """Whether the step is one of an attack: of a fixed length, by the sign or by a norm. Sampling and optimisation take the gradient as it is."""
    return any(use.name in ("sign", "sign_", "sgn", "norm", "normalize", "linalg_vector_norm", "vector_norm") for use in source.uses)


def _same_layer(item: Pass, others: list[Pass]) -> bool:
    return any(item.layer == other.layer for other in others)
