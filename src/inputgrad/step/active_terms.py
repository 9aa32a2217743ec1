"""Weights and schedules: which terms are due at a step, under which name, with which weight, and how their numbers are reduced.

Knows terms; knows no model and no engine.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from inputgrad.batch import AddedUp, Batch
from inputgrad.errors import warn
from inputgrad.heads.moved_tensors import MovedTensors
from inputgrad.memory import memory
from inputgrad.tensor_refs import resolve_tensor, skipped_samples, times_weights
from inputgrad.terms.base import Term, TermSum, Weighted
from inputgrad.torch_internals import messages, pytree
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import Key, ModelInputs, canonical

Terms = Term | Weighted | TermSum | Iterable[Term | Weighted]
Sizes = Callable[[], Iterable[int]]
"""How many samples there may be, the likeliest first."""


@dataclass(frozen=True)
class ActiveTerm:
    """One term at one step: what it is reported as, what it is multiplied by, and the share of the batch that it is taken on."""

    name: str
    term: Term
    weight: float | Tensor
    fraction: float
    sample_weights: tuple[Any, ...] = ()


def active_terms(terms: tuple[Weighted, ...], step: int, *, training: bool) -> list[ActiveTerm]:
    """The terms of this step, in order. In evaluation all of them, on the whole batch, with their plain weights."""
    found = []
    for name, weighted in zip(part_names(terms), terms, strict=True):
        weight = weighted.at_step(step)
        if not training:
            found.append(ActiveTerm(name, weighted.term, weight, 1.0, weighted.sample_weights))
        elif step % weighted.every == 0:
            found.append(ActiveTerm(name, weighted.term, weight * weighted.every, weighted.fraction, weighted.sample_weights))
    return found


def constantly_active(terms: tuple[Weighted, ...]) -> list[ActiveTerm] | None:
    """The terms of every step of training, where they are the same at each; None where a weight is a function of the step, or a term is not always due."""
    if any(callable(weighted.weight) or weighted.every != 1 for weighted in terms):
        return None
    return active_terms(terms, 0, training=True)


def evaluate_term(term: Term, batch: Batch) -> Any:
    """The term's numbers; told, once, where it asked for a gradient that trains the parameters and gave back a constant."""
    before = batch.gradient_leaves
    result = _on_one_device(term, batch)
    if batch.gradient_leaves > before and isinstance(result, Tensor) and not result.requires_grad and not is_tracing() and memory(term).once("constant"):
        warn(
            f"the term {term.name} asked for the input gradient and returned a constant, so it trains nothing: it lost the graph on the way, by "
            ".detach(), .item(), .numpy(), torch.tensor(...) or no_grad. If that is meant, ask for it with batch.gradient(..., constant=True)"
        )
    return result


def _on_one_device(term: Term, batch: Batch) -> Any:
    """The term's numbers; where it computes with tensors of the CPU beside a device's, as a formula of the user's may, these are moved, each once."""
    if _MOVING and _MOVES in memory(term).checked:
        with MovedTensors():
            return term(batch)
    try:
        return term(batch)
    except RuntimeError as error:
        if messages.is_machine_error(error) or not messages.OTHER_DEVICE.is_in(error):
            raise
    try:
        with MovedTensors():
            result = term(batch)
    except RuntimeError as error:
        if messages.is_machine_error(error) or not messages.OTHER_DEVICE.is_in(error):
            raise
        raise ValueError(
            f"the term {term.name} computes with tensors of two devices: the inputs are on {batch.device}, the model on {_named(batch.model)}, the target on "
            f"{_named(batch.target)} (torch: {(str(error).splitlines() or [''])[0]!r}). Move model, inputs, target and what the term holds to one device"
        ) from error
    memory(term).checked.add(_MOVES)
    _MOVING.add(_MOVES)
    return result


_MOVES = "tensors of the CPU beside a device's"
_MOVING: set[str] = set()
"""Not empty once any term of the process has needed it."""


def _named(value: Any) -> str:
    held = value.parameters() if isinstance(value, nn.Module) else (leaf for leaf in pytree.leaves(value) if isinstance(leaf, Tensor))
    return " and ".join(sorted({str(tensor.device) for tensor in held})) or "no device"


def warn_if_stateful(owner: nn.Module, terms: list[ActiveTerm]) -> bool:
    """Whether a term carries something from step to step, which a traced step cannot; told once."""
    stateful = next((item for item in terms if item.term.state()), None)
    if stateful is not None and memory(owner).once("stateful term"):
        warn(
            f"engine 'compiled' does not support the term {stateful.name}, which carries a state between steps. The loss runs eagerly, by the engine of 'auto'"
        )
    return stateful is not None


def differentiated_inputs(terms: list[ActiveTerm], inputs: ModelInputs, model: nn.Module) -> tuple[Key, ...]:
    """Everything that terms on the whole batch will differentiate with respect to, so that one forward pass is enough for all."""
    named: dict[Key, None] = {}
    for item in terms:
        if item.fraction < 1:
            continue
        declared = item.term.variables()
        if declared is not None:  # none at all: a term that differentiates the model itself
            named.update(dict.fromkeys(canonical(declared, inputs, model) if declared else ()))
        else:  # a function that does not say: the first input, where it can be differentiated
            first, value = next(iter(inputs.values().items()))
            if isinstance(value, Tensor) and value.is_floating_point():
                named[first] = None
    return tuple(named)


def part_names(terms: tuple[Weighted, ...]) -> list[str]:
    """One name per term: the one that `named` gave it; of those without, the later ones of the same name are numbered."""
    found: list[str] = []
    taken = {"base", *(weighted.label for weighted in terms if weighted.label)}
    for weighted in terms:
        if weighted.label:
            found.append(weighted.label)
            continue
        name, number = weighted.term.name, 2
        while name in taken:
            name, number = f"{weighted.term.name}_{number}", number + 1
        taken.add(name)
        found.append(name)
    return found


def weighted_terms(terms: Terms) -> tuple[Weighted, ...]:
    if isinstance(terms, (Term, Weighted, TermSum)):
        terms = terms.weighted()
    if not isinstance(terms, Iterable) or isinstance(terms, str):
        terms = [terms]
    found: list[Weighted] = []
    for item in terms:
        if isinstance(item, type) and issubclass(item, Term):
            raise TypeError(f"{item.__name__} is a class: pass an instance, {item.__name__}()")
        if not isinstance(item, (Term, Weighted, TermSum)):
            recipe = isinstance(item, str) or getattr(item, "__module__", "").startswith(f"{__package__.partition('.')[0]}.recipes")
            name = item if isinstance(item, str) else getattr(item, "__name__", "")
            told = f"a recipe is called: ig.recipes.{name}(...)" if recipe else "make one of a function with @inputgrad.term"
            if hasattr(item, "terms"):  # a loss of terms
                told = "a loss with terms is one by itself: call it, or add it to another loss, loss + other"
            raise TypeError(f"terms must be terms or weighted terms, got {item!r}; {told}")
        found.extend(item.weighted())
    labels = [item.label for item in found if item.label]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"two terms are named {label!r}: each part of a loss needs a name of its own")
    return tuple(found)


def value_of_term(item: ActiveTerm, batch: Batch, sizes: Sizes) -> Tensor:
    """The mean of a term's numbers, each times its sample's weights; or a statistic of the batch as it is."""
    if not item.sample_weights:
        return reduce_term(item.term, evaluate_term(item.term, batch), sizes)
    name, every, given = f"sample_weight of {item.name}", None, []
    for ref in item.sample_weights:
        weights = resolve_tensor(name, ref, batch)
        skipped = skipped_samples(name, weights) if weights.dim() == 1 else None
        if skipped is not None:
            every = skipped if every is None or every.shape != skipped.shape else every | skipped
        given.append((weights, skipped))
    result = _evaluated_without(every, item.term, batch)
    reduce_term(item.term, result, sizes)  # checks it
    for weights, skipped in given:
        if weights.shape != result.shape:
            raise ValueError(f"{name} must be one weight per sample, {list(result.shape)}; got {list(weights.shape)}")
        result = times_weights(result, weights, skipped)
    return result.mean()


def value_by_its_sum(item: ActiveTerm, batch: Batch, sizes: Sizes) -> Tensor | AddedUp:
    """`value_of_term`; the sum of the term's numbers where it knows that by fewer operations."""
    way = None if item.sample_weights else type(item.term).__dict__.get("_added_up")  # not that of a class from which it is derived, with a formula of its own
    found: AddedUp | Tensor | None = None if way is None else way(item.term, batch)
    if isinstance(found, Tensor):
        return reduce_term(item.term, found, sizes)
    return found if found is not None and found.samples in sizes() else value_of_term(item, batch, sizes)


def _evaluated_without(skipped: Tensor | None, term: Term, batch: Batch) -> Any:
    """The term's numbers; labels of the samples that are skipped are finite to it."""
    if skipped is None:
        return evaluate_term(term, batch)
    own = batch.without(skipped)
    try:
        return evaluate_term(term, own)
    finally:
        batch.gradient_leaves += own.gradient_leaves
        own.close()


def reduce_term(term: Term, result: Any, sizes: Sizes) -> Tensor:
    """The mean of a per-sample term, or a statistic of the batch as it is; its shape checked against the number of samples (at the term's place)."""
    is_statistic = term.per == "batch"
    if isinstance(result, Tensor) and result.is_floating_point():
        if is_statistic and result.dim() == 0:
            return result
        if not is_statistic and result.dim() == 1 and _is_among(result.shape[0], sizes()):
            return result.mean()
    known = " or ".join(f"[{size}]" for size in dict.fromkeys(sizes()))
    expected = "a 0-d tensor, since it declares per='batch'" if is_statistic else f"one number per sample, [N] = {known}"
    if not isinstance(result, Tensor) or not result.is_floating_point():
        raise TypeError(f"the term {term.name} must return {expected}; got {type(result).__name__ if not isinstance(result, Tensor) else result.dtype}")
    hint = "" if result.dim() else '; the library takes the mean itself, or declare a statistic of the batch with @inputgrad.term(per="batch")'
    raise ValueError(f"the term {term.name} must return {expected}; got shape {list(result.shape)}{hint}")


def _is_among(rows: int, sizes: Iterable[int]) -> bool:
    """Whether it is one of them, or there are none."""
    size = None
    for size in sizes:
        if size == rows:
            return True
    return size is None
