"""What is found in a model before it is trained: by looking at its modules and inputs, by running it once, and from the engines' refusals."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad.diagnosis.records import Explanation, Finding, Verdict
from inputgrad.passes.branches.tape import module_with_hidden_branches
from inputgrad.passes.model_checks import coupled_modules
from inputgrad.passes.uncompiled import compiled_part
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.modules import is_dropout
from inputgrad.torch_internals.tensors import times_written
from inputgrad.variables import MODULE, Key, ModelInputs

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_NAMED = 3
"""How many modules or parameters of a kind are named."""


def suggested(model: nn.Module, inputs: ModelInputs) -> Key:
    """With respect to what: the first floating-point input; where there is none, the output of the first embedding; else the first input."""
    for key, tensor in inputs.tensors():
        if tensor.is_floating_point():
            return key
    embeddings = _embeddings(model)
    return MODULE + embeddings[0] if embeddings else next(iter(inputs.values()))


def inspect_model(model: nn.Module, inputs: ModelInputs, target: Any) -> list[Finding]:
    """What modules, parameters, inputs and target tell without a run."""
    return [*_of_modules(model), *_of_inputs(model, inputs), *_of_parameters(model), *_of_numbers(model, inputs, target)]


def _of_modules(model: nn.Module) -> Iterator[Finding]:
    coupled = [f"{name!r} ({type(module).__name__})" for name, module in coupled_modules(model)]
    if coupled:
        yield Finding(
            "coupled samples",
            f"{_listed(coupled)} computes with the statistics of the batch, so row n of the input gradient is the derivative of the whole batch's scores",
            "GroupNorm or LayerNorm in its place, or the module in evaluation mode",
        )
    hidden, compiled = module_with_hidden_branches(model), compiled_part(model)
    if hidden:
        yield Finding("unseen branches", f"the branch decisions inside {hidden} cannot be replayed", "an exact engine", ("finite_difference",))
    if compiled:
        yield Finding("compiled model", f"{compiled} is compiled by torch.compile; inside the loss it runs uncompiled, elsewhere it stays compiled")
    dropping = [repr(name) for name, module in model.named_modules() if module.training and _drops(module)]
    if dropping:
        yield Finding("dropout active", f"{_listed(dropping)} draws masks: one per step, the same for the output and its input gradient, on every engine")


def _of_inputs(model: nn.Module, inputs: ModelInputs) -> Iterator[Finding]:
    whole = [(key, tensor) for key, tensor in inputs.tensors() if not tensor.is_floating_point()]
    if whole and len(whole) == len(inputs.tensors()):
        names = " or ".join(f'wrt="{MODULE}{name}"' for name in _embeddings(model)[:_NAMED])
        yield Finding(
            "integer inputs",
            ", ".join(f"inputs[{key!r}] is {tensor.dtype}" for key, tensor in whole) + ": there is no derivative with respect to it",
            f"the output of the embedding: {names}; so it was tried here" if names else 'convert it to float, or differentiate inside: wrt="module:<name>"',
        )
    if any(tensor.requires_grad for _, tensor in inputs.tensors()):
        yield Finding("inputs require grad", "a compiled step hands gradients to the parameters only", "detach the inputs", ("compiled",))


def _of_parameters(model: nn.Module) -> Iterator[Finding]:
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    count = sum(1 for _ in model.parameters())
    if len(frozen) == count:
        yield Finding("nothing to train", f"none of the {count} parameters requires grad, so a loss moves nothing", "model.requires_grad_()")
    elif frozen:
        yield Finding("frozen parameters", f"{len(frozen)} of {count} parameters do not require grad and get no gradient: {_listed(map(repr, frozen))}")


def _of_numbers(model: nn.Module, inputs: ModelInputs, target: Any) -> Iterator[Finding]:
    named = [(f"inputs[{key!r}]", tensor) for key, tensor in inputs.tensors()]
    named += [("target", target)] if isinstance(target, Tensor) else []
    named += [(f"parameter {name!r}", parameter.detach()) for name, parameter in model.named_parameters()]
    for name, tensor in named:
        yield from _not_finite(name, tensor)


def inspect_run(model: nn.Module, inputs: ModelInputs, pick: Callable[[Any], Tensor]) -> list[Finding]:
    """What one forward pass and one backward pass tell. Raises whatever the model raises; to be called inside a replay."""
    leaves = {key: tensor.detach().clone() for key, tensor in inputs.tensors()}
    opened = {key: leaf.requires_grad_() for key, leaf in leaves.items() if leaf.is_floating_point()}
    handed = {key: leaf.clone() for key, leaf in leaves.items()}
    parameters = dict(model.named_parameters())
    before = {name: times_written(parameter) for name, parameter in parameters.items()}
    output = pick(inputs.replaced(handed).call(model))
    found = [
        *(_changed(f"inputs[{key!r}]", "the library hands it a copy; elsewhere it spoils yours") for key, value in handed.items() if times_written(value)),
        *(
            _changed(f"its parameter {name!r}", "under engines of several passes it happens once per pass")
            for name, p in parameters.items()
            if times_written(p) != before[name]
        ),
    ]
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return found
    return [*found, *_not_finite("the model's output", output), *_without_path(output, opened, parameters)]


def _changed(what: str, consequence: str) -> Finding:
    return Finding("in place", f"the model writes in place on {what}; {consequence}", "an operation that is not in place (clone first)")


def _without_path(output: Tensor, opened: dict[Key, Tensor], parameters: dict[str, nn.Parameter]) -> Iterator[Finding]:
    if not output.requires_grad:
        yield Finding("no path", "the output carries no graph: it is detached, or made under no_grad, inside the model", "take that out of model.forward")
        return
    wanted = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    try:
        found = torch.autograd.grad(output.sum(), [*opened.values(), *wanted.values()], allow_unused=True)
    except RuntimeError as error:  # re-entrant checkpointing, or an operation without a derivative: an engine says it better
        if messages.is_machine_error(error):
            raise
        return
    by_input, by_parameter = found[: len(opened)], found[len(opened) :]
    for key, gradient in zip(opened, by_input, strict=True):
        if gradient is None:
            yield Finding(
                "no path", f"no path leads from the output to inputs[{key!r}]", "another input with wrt=; or look for detach, no_grad, argmax or item"
            )
        else:
            yield from _not_finite(f"the input gradient at inputs[{key!r}]", gradient)
    idle = [repr(name) for name, gradient in zip(wanted, by_parameter, strict=True) if gradient is None]
    if idle:
        yield Finding("unused parameters", f"the output does not depend on {_listed(idle)}")


def findings_of_refusals(explanation: Explanation, known: Iterable[Finding]) -> list[Finding]:
    """A finding for each engine that was refused and is not the subject of a finding yet; one for all where they say the same."""
    refused = [verdict for verdict in explanation.verdicts if verdict.works in ("not supported", "doubtful", "wrong") and verdict.engine in _WORDS]
    spoken = {engine for finding in known for engine in finding.hinders}
    without_path = any(finding.what == "no path" for finding in known)
    groups: dict[str, list[Verdict]] = {}
    for verdict in refused:
        text = (verdict.reason or "").partition(" (torch: ")[0]
        if verdict.engine not in spoken and not (without_path and "no path leads" in text):
            groups.setdefault(text, []).append(verdict)
    way_out = f"engine='auto' takes {explanation.taken!r}" if explanation.taken else ""
    return [Finding(_kind(group), text, way_out, tuple(verdict.engine for verdict in group)) for text, group in groups.items()]


def _kind(group: list[Verdict]) -> str:
    if len(group) > 1:
        return "no input gradient"
    return {"doubtful": "engines disagree", "wrong": "wrong gradient"}.get(group[0].works, _WORDS[group[0].engine])


_WORDS = {"double_backward": "no second derivative", "reverse_over_forward": "no forward mode", "finite_difference": "no differences"}


def _not_finite(name: str, tensor: Tensor) -> Iterator[Finding]:
    if (tensor.is_floating_point() or tensor.is_complex()) and (bad := int((~tensor.detach().isfinite()).sum())):
        yield Finding("not finite", f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite", "clean or mask them before training")


def _embeddings(model: nn.Module) -> list[str]:
    names = [name.removeprefix("_orig_mod.").removeprefix("module.") for name, module in model.named_modules() if isinstance(module, _EMBEDDINGS)]
    return [name for name in names if name]


def _drops(module: nn.Module) -> bool:
    share = module.p if is_dropout(module) else getattr(module, "dropout", 0)
    return isinstance(share, float) and share > 0


def _listed(names: Iterable[str]) -> str:
    given = list(names)
    more = len(given) - _NAMED
    return ", ".join(given[:_NAMED]) + (f" and {more} more" if more > 0 else "")
