"""IG7, adversarial training: how an input is moved along its gradient.

What is seen: a gradient (or what comes from it) added to the input that it is the gradient by. Not taken: the sign of the step at odds with the intent, since
targeted attacks, sampling and input optimisation all step down, and names alone are no evidence.
"""

from collections.abc import Iterator

from inputgrad.audit.finding import Finding
from inputgrad.audit.observations.gradient_calls import InputGradient
from inputgrad.audit.observations.run_facts import Facts, LayerPass
from inputgrad.audit.observations.tensor_origins import Operation
from inputgrad.audit.replacements import gradients, inputs
from inputgrad.audit.rule_registry import rule


@rule("IG701", "perturbation with a graph", "note")
def not_detached(facts: Facts) -> Iterator[Finding]:
    """The step that moves the input carries its graph into the loss. Meant where the step is unrolled; a constant in FGSM, PGD and their kind."""
    for call in facts.calls:
        for live in call.graph.live_terms if call.kind == "backward" and call.fate.stepped else ():
            move = _move(live.gradient, "alive")
            taken = any(
                operation.span is not None for operation in live.gradient.operations
            )  # by a layer, as its input: not as weights that an inner step made
            if move is None or not taken or not live.pull or live.gradient.second_of is not None or live.direct:
                continue
            effect = "" if live.effect is None else f"‖∂loss/∂θ‖ through the step alone = {live.effect:.3g}, of {call.fate.contributed:.3g} in all"
            yield Finding(
                "IG701",
                "note",
                move.site,
                f"the step that moves the input here carries its graph, so the loss of {call.site.shown} also trains the parameters to change the step.",
                effect,
                gradients.detached(move.site, live.gradient.site)
                or "gradient.detach() in the step, without create_graph=True, where the perturbation is a constant (FGSM, PGD)",
                (live.gradient.site, call.site),
                effect=live.effect / call.fate.contributed if live.effect and call.fate.contributed else None,
            )


@rule("IG702", "attack on a network in another mode", "warning")
def mode(facts: Facts) -> Iterator[Finding]:
    """The input is moved along the gradient of a network with dropout or BatchNorm in training mode, and then judged by the network in evaluation mode.

    The same mode in both is disputed among maintainers, and not told.
    """
    for gradient in facts.input_gradients:
        move = _move(gradient, "cut") or _move(gradient, "alive")
        if move is None or not _attacks(gradient) or gradient.call.request.transform:  # whose passes are not seen
            continue
        during = [item for item in facts.passes if item.number == gradient.call.number and item.training and item.requires_grad]
        after = [item for item in facts.passes if item.number > gradient.call.number and item.step == gradient.call.step]
        judged = next((item for item in after if _same_layer(item, during)), None)
        if judged is None or judged.training:
            continue
        kinds = " and ".join(sorted({"BatchNorm" if item.kind == "batch_norm" else "dropout" for item in during}))
        yield Finding(
            "IG702",
            "warning",
            gradient.site,
            f"the perturbation is made against the network with {kinds} in training mode, and judged at {judged.site.shown} by the network in evaluation mode: "
            "two different functions, so the attack is weaker than it could be.",
            write="model.eval() before the attack, and the former mode after it",
            related=(move.site, judged.site),
        )


@rule("IG703", "perturbed input out of bounds", "note")
def bounds(facts: Facts) -> Iterator[Finding]:
    """The inputs all lie in [0, 1], and the model takes perturbed ones that do not."""
    for gradient in facts.input_gradients:
        move = _move(gradient, "cut") or _move(gradient, "alive")
        if (
            move is None
            or gradient.span is None
            or not _attacks(gradient)
            or not (gradient.span[0] >= 0 and gradient.span[1] <= 1 and gradient.span[1] > gradient.span[0])
        ):
            continue
        taken = next((operation for operation in gradient.operations if operation.span is not None and not _in_bounds(operation.span)), None)
        if taken is not None and taken.span is not None and not _is_brought_back(gradient, move, taken):
            yield Finding(
                "IG703",
                "note",
                move.site,
                f"the inputs lie in [0, 1], and the perturbed ones that the model takes at {taken.site.shown} do not.",
                f"inputs in [{gradient.span[0]:.3g}, {gradient.span[1]:.3g}], perturbed in [{taken.span[0]:.3g}, {taken.span[1]:.3g}]",
                inputs.within_bounds(move.site) or "perturbed.clamp(0, 1), where the data is images",
                (taken.site,),
            )


def _in_bounds(span: tuple[float, float]) -> bool:
    return span[0] >= -1e-6 and span[1] <= 1 + 1e-6


def _is_brought_back(gradient: InputGradient, move: Operation, taken: Operation) -> bool:
    """Whether the moved input was clamped to the bounds before: what the model takes beyond them is something else, such as a look-ahead along a momentum."""
    between = gradient.operations[gradient.operations.index(move) : gradient.operations.index(taken)]
    return any(operation.bounded is not None and _in_bounds(operation.bounded) for operation in between)


def _move(gradient: InputGradient, how: str) -> Operation | None:
    """Where the input was moved along this gradient."""
    for number, operation in enumerate(gradient.operations):
        cut_after = any(later.name in ("detach", "data") and later.shape == gradient.shape for later in gradient.operations[number + 1 :])
        if operation.moves and ("cut" if cut_after else operation.moves) == how:
            return operation
    return None


def _attacks(gradient: InputGradient) -> bool:
    """Whether the step is one of an attack: of a fixed length, by the sign or by a norm. Sampling and optimisation take the gradient as it is."""
    return any(operation.name in ("sign", "sign_", "sgn", "norm", "normalize", "linalg_vector_norm", "vector_norm") for operation in gradient.operations)


def _same_layer(item: LayerPass, others: list[LayerPass]) -> bool:
    return any(item.layer == other.layer for other in others)
