"""IG6, the engine: operations and wrappers through which torch has no second derivative, and what works in their place.

An error that torch raised is a finding that names the cause and the smallest change. Fused attention and once_differentiable functions are told of before that,
from the graph: the first where an input gradient asks for a graph that no backward pass has gone through yet; the second because it may raise nothing at all.
Not told: a wrapper by DeepSpeed (its hooks break torch.func alone, which the audit does not follow).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from inputgrad.audit.finding import Finding, Severity
from inputgrad.audit.observations.gradient_calls import GradientCall
from inputgrad.audit.observations.run_facts import Facts
from inputgrad.audit.replacements import graphs
from inputgrad.audit.rule_registry import rule


@dataclass(frozen=True)
class _Cause:
    """Signs in torch's message, what they mean, and the smallest change."""

    code: str
    signs: tuple[str, ...]
    message: str
    write: str
    engine: str


_ATTENTION = _Cause(
    "IG601",
    ("scaled_dot_product", "efficient_attention_backward", "flash_attention_backward"),
    "fused attention has no second derivative, and this pass needs it: a term on the input gradient goes through it.",
    "with sdpa_kernel(SDPBackend.MATH): around the forward pass (from torch.nn.attention import SDPBackend, sdpa_kernel)",
    "inputgrad puts its own derivative in place of it in engine='double_backward'; engine='finite_difference' needs the first derivative alone",
)
_CHECKPOINT = _Cause(
    "IG602",
    ("use_reentrant=True", "Checkpointing is not compatible"),
    "re-entrant checkpointing allows no autograd.grad, and keeps no graph of a gradient.",
    "checkpoint(function, x, use_reentrant=False)",
    "engine='finite_difference' of inputgrad supports re-entrant checkpoints as they are",
)
_COMPILED = _Cause(
    "IG603",
    ("does not currently support double backward", "donated buffer"),
    "torch.compile's backward pass cannot be differentiated again.",
    "take the term through the module as it was before torch.compile (model._orig_mod), and the plain loss through the compiled one",
    "engine='compiled' of inputgrad traces the whole step, input gradient and all; 'auto' runs the compiled part as plain Python",
)
_ONCE = _Cause(
    "IG604",
    ("once_differentiable",),
    "an autograd.Function on the way is marked @once_differentiable, so its derivative cannot be differentiated again.",
    "write its backward in torch operations, without @once_differentiable",
    "engine='finite_difference' of inputgrad needs its first derivative alone",
)
_SHARDED = _Cause(
    "IG605",
    ("setStorage", "FSDP"),
    "parameters sharded by fully_shard are freed again before the second derivative needs them.",
    "DistributedDataParallel in place of fully_shard, where memory allows (no setting of fully_shard helps)",
    "engine='reverse_over_forward' of inputgrad differentiates backward once only and leaves the model sharded, engine='double_backward' puts it together "
    "for the step; both are exact",
)
_OTHER = _Cause(
    "IG606",
    ("is not implemented", "does not support double backward", "cudnn RNN", "double backward", "Double backward"),
    "an operation on the way has no second derivative.",
    "another form of it with derivatives of every order (torch.cdist: (x[:, None] - y).square().sum(-1); cuDNN's RNN: "
    "torch.backends.cudnn.flags(enabled=False))",
    "engine='finite_difference' of inputgrad needs first derivatives alone",
)
_PARALLEL = _Cause(
    "IG607",
    (),
    "DTensor.from_local, the entry to a layer that tensor parallelism splits, sums its gradient over the processes without a graph. The value is right, and "
    "no parameter learns from this gradient what it should.",
    "no setting of torch 2.13 helps; take the term through the model before parallelize_module, where memory allows",
    "engine='double_backward' of inputgrad puts an entry in its place that can be differentiated twice, and engine='finite_difference' needs none",
)
_CAUSES = (_ATTENTION, _CHECKPOINT, _COMPILED, _ONCE, _SHARDED, _OTHER)


@rule("IG601", "fused attention under a second derivative")
def attention(facts: Facts) -> Iterator[Finding]:
    """A term on the input gradient of a model whose attention is fused: raised, or about to raise at the backward pass."""
    yield from _raised(facts, _ATTENTION)
    if any(call.fate.error for call in facts.calls):
        return
    for call in facts.calls:
        waiting = [gradient for gradient in call.input_gradients if gradient.requires_grad and gradient.used]
        if "attention" in call.graph.obstacles and call.request.create_graph and waiting and not _went_through(facts, call):
            yield _finding(_ATTENTION, call, "warning", "this gradient keeps its graph (create_graph=True), and a backward pass through it will raise: ")


@rule("IG602", "re-entrant checkpointing under a second derivative")
def checkpoint(facts: Facts) -> Iterator[Finding]:
    """`torch.utils.checkpoint` with ``use_reentrant=True``: autograd.grad raises, ``backward(create_graph=True)`` leaves a gradient without a graph."""
    yield from _raised(facts, _CHECKPOINT)
    for call in facts.calls:
        if (
            call.request.create_graph
            and not call.fate.error
            and "checkpoint" in call.graph.obstacles
            and any(not gradient.requires_grad for gradient in call.input_gradients)
        ):
            yield _finding(_CHECKPOINT, call, "error", "create_graph=True has no effect here: ")


@rule("IG603", "compiled model under a second derivative")
def compiled(facts: Facts) -> Iterator[Finding]:
    """A model under torch.compile in a term on the input gradient."""
    yield from _raised(facts, _COMPILED)


@rule("IG604", "once_differentiable function under a second derivative")
def once(facts: Facts) -> Iterator[Finding]:
    """A function marked ``once_differentiable``: raised, or, where the gradient that comes to it is constant, a part of the term that is silently constant."""
    yield from _raised(facts, _ONCE)
    raised = any(call.fate.error and "once_differentiable" in call.fate.error for call in facts.calls)
    for call in facts.calls:
        names = sorted(item.removeprefix("once:") for item in call.graph.obstacles if item.startswith("once:"))
        if names and call.request.create_graph and not call.fate.error and not raised and any(gradient.used for gradient in call.input_gradients):
            yield _finding(
                _ONCE, call, "warning", f"{', '.join(names)}: what its backward saved counts as a constant in this gradient's graph, without a word. "
            )


@rule("IG605", "sharded parameters under a second derivative")
def sharded(facts: Facts) -> Iterator[Finding]:
    """`fully_shard` (FSDP2) in a term on the input gradient."""
    yield from _raised(facts, _SHARDED)


@rule("IG606", "operation without a second derivative")
def other(facts: Facts) -> Iterator[Finding]:
    """cdist, CTC loss, grid_sample in three dimensions, cuDNN's recurrent layers, and others of which torch says so."""
    yield from _raised(facts, _OTHER)


@rule("IG607", "tensor parallelism under a second derivative")
def parallel(facts: Facts) -> Iterator[Finding]:
    """A gradient that was to keep its graph, through a module that `parallelize_module` has split: cut off without a word."""
    for call in facts.calls:
        if call.fate.entries_cut and any(gradient.used for gradient in call.input_gradients):
            entries = "one entry" if call.fate.entries_cut == 1 else f"{call.fate.entries_cut} entries"
            yield _finding(_PARALLEL, call, "error", f"create_graph=True ends at {entries}: ")


@rule("IG608", "Function whose backward has no graph")
def without_a_graph(facts: Facts) -> Iterator[Finding]:
    """An autograd.Function whose backward works under ``no_grad``, on ``.data`` or in numpy: what comes out of it is a constant, without a word."""
    used = {live.gradient.call for call in facts.calls if call.fate.stepped for live in call.graph.live_terms}
    cut = {dead.origin.gradient.call for call in facts.calls if call.fate.stepped for dead in call.graph.dead_terms}
    for call in facts.calls:
        if call.graph.cut_in and call in used | cut:
            yield Finding(
                "IG608",
                "error",
                call.site,
                f"the backward of {call.graph.cut_in} has no graph: in a term on this gradient, all that comes through it is a constant, without a word.",
                "the gradient is linear in its seed, and its graph does not give the seed back",
                "write its backward in torch operations on tensors as they are: without torch.no_grad(), .data, .detach() or numpy; or "
                "engine='finite_difference' of inputgrad, which needs its first derivative alone",
            )


def _raised(facts: Facts, cause: _Cause) -> Iterator[Finding]:
    for call in facts.calls:
        if call.fate.error and _cause(call.fate.error) is cause and _second(facts, call, cause):
            yield _finding(cause, call, "error", "")


def _second(facts: Facts, call: GradientCall, cause: _Cause) -> bool:
    """Whether a derivative of a derivative was asked for; a checkpoint refuses the first one already."""
    return cause is _CHECKPOINT or bool(call.graph.live_terms) or any(earlier.request.create_graph for earlier in facts.calls[: call.number])


def _cause(error: str) -> _Cause | None:
    return next((cause for cause in _CAUSES if any(sign in error for sign in cause.signs)), None)


def _went_through(facts: Facts, call: GradientCall) -> bool:
    """Whether some backward pass has gone through the graph of this call's gradients, or it is never meant to: evaluation."""
    return not facts.steps or any(live.gradient.call is call for other in facts.calls for live in other.graph.live_terms)


def _finding(cause: _Cause, call: GradientCall, severity: Severity, begin: str) -> Finding:
    said = "" if call.fate.error is None else f"torch: {call.fate.error.strip().splitlines()[0][:120]}"
    related = tuple({live.gradient.site for live in call.graph.live_terms} - {call.site})
    lines = graphs.not_reentrant(call.site) if cause is _CHECKPOINT else ""
    return Finding(cause.code, severity, call.site, begin + cause.message, said, lines or f"{cause.write}; or {cause.engine}", related)
