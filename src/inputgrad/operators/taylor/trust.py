"""Whether Taylor arithmetic may be used for a model: known reasons against it, and one comparison with nested reverse mode on a few samples.

The answer is kept for the model's form and asked again when the form changes. It finds what no rule can see: samples that depend on each other, and
backward passes that are not the derivative of the forward pass.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from inputgrad.devices import length, numbers, wide
from inputgrad.memory import memory
from inputgrad.operators.taylor.jet import NoRuleError
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.model_checks import coupled_modules
from inputgrad.passes.second_derivative import model_fingerprint
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.autocast import is_autocast_on
from inputgrad.torch_internals.functorch import is_transforming
from inputgrad.torch_internals.modules import backward_hooks, forward_hooks, forward_pre_hooks
from inputgrad.torch_internals.tracing import without_dispatch_modes
from inputgrad.variables import Key, is_module

Ways = Callable[[ForwardPass], Sequence[Tensor]]
"""A pass of the model -> the derivatives that are asked for."""

SAMPLES = 4
"""How many samples the two ways are compared on."""


def why_not(forward: ForwardPass, keys: Sequence[Key], asked: Hashable, order: int, taylor: Ways, nested: Ways) -> str | None:
    """Why Taylor arithmetic is not used for these derivatives of this model; None where it is.

    asked: what is asked for, as a key. taylor, nested: the two ways to it.
    """
    reason = _passing_reason(forward, keys)
    if reason is not None:
        return reason
    form, known = _form(forward, keys, asked), memory(forward.model).measured
    if form not in known:
        with without_dispatch_modes():  # a trace takes the answer in, not the comparison
            known[form] = _standing_reason(forward.model) or _compared(forward, order, taylor, nested)
    reason = known[form]
    return reason if reason is None else str(reason)


def give_up(forward: ForwardPass, keys: Sequence[Key], asked: Hashable, error: Exception) -> None:
    """Remember that a pass on jets failed on other inputs than those it was compared on, so that it is not tried again."""
    memory(forward.model).measured[_form(forward, keys, asked)] = _first_line(error)


def _form(forward: ForwardPass, keys: Sequence[Key], asked: Hashable) -> Hashable:
    """All that decides whether the rules cover a model."""
    kinds = tuple((key, z.dim(), z.dtype) for key, z in forward.inputs.tensors())
    return ("taylor", asked, kinds, tuple(keys), model_fingerprint(forward.model))


def _first_line(error: Exception) -> str:
    return str(error) if isinstance(error, NoRuleError) else f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _passing_reason(forward: ForwardPass, keys: Sequence[Key]) -> str | None:
    """What may be otherwise at the next call."""
    if any(is_module(key) for key in keys):
        return "a variable is the output of an inner module"
    if not forward.placement.local:
        return "the process is one of several"
    if is_autocast_on():
        return "autocast is on"
    return "inside a transform of torch.func" if is_transforming() else None


def _standing_reason(model: nn.Module) -> str | None:
    for name, module in model.named_modules():
        if len(forward_hooks(module)) + len(forward_pre_hooks(module)) + backward_hooks(module):
            return f"module {name!r} has hooks"
    for name, _ in coupled_modules(model):
        return f"module {name!r} couples the samples"
    return None


def _compared(forward: ForwardPass, order: int, taylor: Ways, nested: Ways) -> str | None:
    try:
        if _samples_depend_on_each_other(forward):
            return "the samples depend on each other"
        few = forward.of_first_samples(SAMPLES)
        with sdpa_kernel(SDPBackend.MATH):  # the kernel of attention that can be differentiated again and again
            reference = [part.detach() for part in nested(few)]
        found = [part.detach() for part in taylor(few)]
    except Exception as error:
        if messages.is_machine_error(error):
            raise
        return _first_line(error)
    worst = max((_distance(a, b) for a, b in zip(found, reference, strict=True)), default=0.0)
    least = torch.finfo(reference[0].dtype).eps ** 0.5 * 10 ** max(order - 2, 0)
    return (
        None if worst <= least else f"the result differs from nested reverse mode by {worst:.1e}: the samples depend on each other, or a custom backward pass"
    )


def _samples_depend_on_each_other(forward: ForwardPass) -> bool:
    """Whether the first derivative of the whole batch says so: with factors c_n on the outputs, that of sample n is c_n times what it was, and no more."""
    whole = forward.of_first_samples(forward.inputs.variable(forward.wrt[0]).shape[0])
    here = whole.primal()
    output, variables = here.output, [here.variables[key] for key in whole.wrt]
    if not output.requires_grad or any(z.shape[:1] != output.shape[:1] for z in variables):
        return False
    factors = torch.linspace(1.0, 2.0, len(output), dtype=output.dtype, device=output.device)
    alike = torch.autograd.grad(output.sum(), variables, retain_graph=True, allow_unused=True)
    weighted = torch.autograd.grad(_by_sample(factors, output).sum(), variables, allow_unused=True)
    least = torch.finfo(output.dtype).eps ** 0.5
    return any(a is not None and b is not None and _distance(b, _by_sample(factors, a)) > least for a, b in zip(alike, weighted, strict=True))


def _by_sample(factors: Tensor, tensor: Tensor) -> Tensor:
    """Each sample of a tensor times its factor, ``[N]``."""
    return factors.reshape(-1, *[1] * (tensor.dim() - 1)) * tensor


def _distance(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    size, off = numbers([length(b), length(wide(a) - wide(b))])
    return off / size if size else 0.0 if off == 0 else float("inf")


def remembered(model: nn.Module) -> dict[Any, str | None]:
    """For each kind of derivatives that was asked of a model, the latest answer: why Taylor arithmetic is not used, or None."""
    return {key[1]: reason for key, reason in memory(model).measured.items() if isinstance(key, tuple) and key and key[0] == "taylor"}
