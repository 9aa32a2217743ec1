"""The ledger of one call of the loss: the passes that were made, the gradients that its terms share, and the way back to the parameters.

Here engines and terms meet without seeing each other: terms ask a `Batch`, the ledger asks the engine.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from inputgrad import base_losses, heads
from inputgrad.batch import Batch
from inputgrad.distributed.ddp import is_sharded, replicas, touch_all_parameters
from inputgrad.engines.base import Engine, Linearization, constant_gradient
from inputgrad.heads import Of, Score
from inputgrad.passes.forward_pass import ForwardPass, PassOptions, displacement, is_module, shaped
from inputgrad.passes.input_gradient import input_gradient
from inputgrad.passes.precision import widened_under_autocast
from inputgrad.passes.replay import RandomAndBufferState
from inputgrad.places.base import Place, check_place
from inputgrad.step.shared_base_loss import PendingCotangents, Roots, SharedBaseLoss, as_multiple
from inputgrad.step.surrogate_gradient import SurrogateGradient
from inputgrad.torch_internals.autograd_graph import leaves_of
from inputgrad.torch_internals.gradient_hooks import has_accumulation_hooks
from inputgrad.variables import Key, ModelInputs, Wrt, canonical, sampled

Leaves = tuple[Tensor, ...]


@dataclass(frozen=True)
class _Gradient:
    """An input gradient as terms see it, detached leaves, and how it goes on to the parameters."""

    leaves: Leaves
    found: Linearization


class Evaluation:
    """One call of the loss on one batch."""

    def __init__(
        self,
        model: nn.Module,
        inputs: ModelInputs,
        target: Any,
        *,
        wrt: tuple[Key, ...],
        base: Callable[[Tensor, Any], Tensor] | None,
        engine: Engine,
        pick: Callable[[Any], Tensor],
        differentiable: bool,
        is_training_step: bool = False,
        replay: RandomAndBufferState | None = None,
    ) -> None:
        self._model, self._inputs, self._target = model, inputs, target
        self.base, self._engine, self._pick, self._differentiable = base, engine, pick, differentiable
        self._replay = replay or RandomAndBufferState(model, inputs.device(model))
        self._forward = ForwardPass(model, inputs, wrt, pick, self._replay, engine.pass_options(model) if wrt else None)
        self._passes: dict[tuple[Place | None, Any], ForwardPass] = {(None, None): self._forward}
        self._gradients: dict[Any, _Gradient] = {}
        self._output: Tensor | None = None
        self._base_value: Tensor | None = None
        self._joining: SharedBaseLoss | None = None
        self.at_once = self.alone = False
        """Whether `backward` is what comes of this call: all leaves in one go; whether one term is due, which hardly asks for a second gradient."""
        self._shares: dict[float, Evaluation] = {}
        self.batch = Batch(model, inputs.as_given(), target, self, is_training_step=is_training_step)

    # what a batch asks for

    def output(self) -> Tensor:
        if self._output is None:
            self._output = widened_under_autocast(self._forward.values().output.detach()).requires_grad_()  # small cotangents must not vanish
        return self._output

    def gradient(self, of: Of, wrt: Wrt, at: Place | None, *, constant: bool) -> Leaves:
        keys = self._canonical(wrt)
        constant = constant or not self._differentiable
        asked = (of, keys, at)
        if (*asked, False) in self._gradients:  # one that carries a graph serves as a constant too
            leaves = self._gradients[*asked, False].leaves
            return tuple(leaf.detach() for leaf in leaves) if constant else leaves
        if (*asked, constant) not in self._gradients:
            self._gradients[*asked, constant] = self._linearized(of, keys, at, constant)
        return self._gradients[*asked, constant].leaves

    def _linearized(self, of: Of, keys: tuple[Key, ...], at: Place | None, constant: bool) -> "_Gradient":
        forward = self._pass(keys, at, of.module if isinstance(of, heads.Inner) else None)
        score = self._score(of, forward)
        if constant:
            found = constant_gradient(forward, score, keys)
        else:
            found = (self._joint(score, forward, keys) if of == "loss" else None) or self._engine.linearize(forward, score, keys)
        return _Gradient(tuple(part.detach().requires_grad_(self._differentiable and not constant) for part in found.gradient), found)

    def gradient_at(self, value: Tensor, of: Of, key: Key) -> Tensor:
        (key,) = self._canonical(key)
        leaf = shaped(key, value, self.variable(key)).detach().requires_grad_()
        forward = ForwardPass(self._model, self._inputs, (key,), self._pick, self._replay).at({key: leaf})
        forward.may_free_graph = True
        (gradient,) = input_gradient(forward, self._score(of, forward), (key,), create_graph=False)
        return gradient.detach()

    def _joint(self, score: Score, forward: ForwardPass, keys: tuple[Key, ...]) -> Linearization | None:
        """The gradient of the samples' own losses by an engine that takes the base loss over too, once a call."""
        if type(self._engine).joint is Engine.joint or self._base_value is None or self._joining is not None or forward is not self._forward:
            return None
        known = as_multiple(self._base_value, score, self.output())
        forward.may_free_graph = self.at_once and self.alone and not self._inputs.attached
        found = self._engine.joint(forward, score, keys, at_once=self.at_once) if known else None
        forward.may_free_graph = False
        if known and found:
            self._joining = SharedBaseLoss(found, known, self._base_value)
        return found

    def variable(self, key: Key) -> Tensor:
        (key,) = self._canonical(key)
        here = self._pass((key,), None).values().variables[key] if is_module(key) else self._inputs.variable(key)  # an input is known without a pass
        return here.detach()

    def output_and_variables(self, wrt: Wrt, at: Place | None) -> tuple[Tensor, Leaves]:
        keys = self._canonical(wrt)
        return (here := self._pass(keys, at, plain=True).primal()).output, tuple(here.variables[key] for key in keys)

    def output_with(self, values: Mapping[Key, Tensor]) -> Tensor:
        changes = {self._canonical(key)[0]: displacement(key, value, self.variable(key)) for key, value in values.items()}
        return ForwardPass(self._model, self._inputs, tuple(changes), self._pick, self._replay).run(changes).output

    def inputs_with(self, values: Mapping[Key, Tensor]) -> Any:
        return self._inputs.replaced({self._canonical(key)[0]: value for key, value in values.items()}).as_given()

    def loss_of(self, output: Tensor) -> Tensor:
        return base_losses.per_sample(self.base, output, self._target)

    def found(self) -> Tensor | None:
        """The output of the batch's own pass, detached, where one was made."""
        return None if self._output is None else self._output.detach()

    def sizes(self) -> list[int]:
        """How many samples there are: at the batch's own inputs, and at each place where a gradient was taken."""
        return list(dict.fromkeys(forward.values().output.shape[0] for forward in self._passes.values() if forward.made))

    # the way back

    def base_value(self) -> Tensor:
        assert self.base is not None
        self._base_value = base_losses.value(self.base, self.output(), self._target)
        return self._base_value

    def share(self, fraction: float) -> "Evaluation":
        """The ledger of a random share of the batch, drawn once a call; itself for the whole."""
        if fraction == 1:
            return self
        if fraction not in self._shares:
            inputs, target = sampled(self._inputs, self._target, fraction)
            common: dict[str, Any] = {"base": self.base, "engine": self._engine, "pick": self._pick, "replay": self._replay}
            self._shares[fraction] = Evaluation(self._model, inputs, target, wrt=(), differentiable=self._differentiable, **common)
        return self._shares[fraction]

    def attached(self, value: Tensor) -> Tensor:
        """``value``, whose backward pass goes on to the parameters through the output and every input gradient that it depends on."""
        one = torch.ones((), dtype=value.dtype, device=value.device)
        pairs: list[tuple[Tensor, Tensor]] = []
        for ledger in (self, *self._shares.values()):
            owed = ledger._owed(value)
            pairs += [*owed.outputs, *((share, one) for found, v in owed.gradients for share in found.shares(v))]
            pairs += [(share, one) for share in (owed.joined().shares if owed.joined else ())]
        pairs = [(tensor, cotangent) for tensor, cotangent in pairs if tensor.requires_grad]
        loss = SurrogateGradient.apply(value, [cotangent for _, cotangent in pairs], *[tensor for tensor, _ in pairs])
        return touch_all_parameters(loss, self._model, self._replay.output)

    def backward(self, value: Tensor) -> None:
        """The backward pass of ``value`` to every leaf but those that the library made itself, one pass of the model at a time."""
        ledgers = (self, *self._shares.values())
        every_owed = [ledger._owed(value) for ledger in ledgers]
        own = set[int]().union(*(ledger.own_leaves() for ledger in ledgers))
        roots: Roots = [(touch_all_parameters(value, self._model, self._replay.output), None)]
        for owed in every_owed:
            roots += [*owed.outputs, *((found.here(v), None) for found, v in owed.gradients if found.here)]
        passes: Iterator[Roots] = chain([roots], *(owed.passes() for owed in every_owed))
        if self._inputs.attached or self._listened():  # every pass goes on into the graph of the inputs, or a hook wants the whole gradient: once, together
            passes = iter([[*chain(*passes)]])
        for roots in passes:
            self._to_leaves(roots, own)

    def _listened(self) -> bool:
        """Whether something acts on a parameter as soon as its gradient is there, an optimiser or a reducer: then it must be whole."""
        return bool(replicas(self._model)) or is_sharded(self._model) or any(has_accumulation_hooks(parameter) for parameter in self._model.parameters())

    def _owed(self, value: Tensor) -> PendingCotangents:
        """The cotangents of ``value`` at the output and at each input gradient: everything that goes on to the parameters besides its own graph."""
        groups = [group for group in self._gradients.values() if not group.found.constant]
        outputs = [] if self._output is None else [self._output]
        leaves = [*outputs, *(leaf for group in groups for leaf in group.leaves)]
        if not value.requires_grad or not leaves:
            return PendingCotangents([], [])
        cotangents = iter(torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True))
        at_output = next(cotangents) if outputs else None
        gradients = []
        for group in groups:
            parts = [next(cotangents) for _ in group.leaves]
            if any(part is not None for part in parts):
                filled = tuple(torch.zeros_like(leaf) if part is None else part for leaf, part in zip(group.leaves, parts, strict=True))
                gradients.append((group.found, filled))
        joined, gradients, at_output = self._joining.taken(value, gradients, at_output) if self._joining else (None, gradients, at_output)
        return PendingCotangents([] if at_output is None else [(self._forward.primal().output, at_output)], gradients, joined)

    def own_leaves(self) -> set[int]:
        """The leaves that the library made itself, by identity: no gradient of theirs is wanted."""
        own = {id(leaf) for group in self._gradients.values() for leaf in group.leaves} | {id(self._output)}
        for forward in self._passes.values():
            own |= {id(leaf) for leaf in (*forward.own_leaves, *(forward.values().variables.values() if forward.made else ()))}
        return own

    def _to_leaves(self, roots: Roots, own: set[int]) -> None:
        roots = [(tensor, cotangent) for tensor, cotangent in roots if tensor.requires_grad]
        tensors = [tensor for tensor, _ in roots]
        cotangents = [None if cotangent is None else cotangent.to(tensor.dtype) for tensor, cotangent in roots]
        if self._replay.reentrant:  # re-entrant checkpointing hides its leaves and refuses to be told where to stop
            torch.autograd.backward(tensors, cotangents)
        elif leaves := [leaf for leaf in leaves_of(tensors) if id(leaf) not in own]:
            torch.autograd.backward(tensors, cotangents, inputs=leaves)

    def close(self) -> None:
        """Let go of every pass: what is still needed hangs on the loss, and nothing waits for the garbage collector."""
        for share in self._shares.values():
            share.close()
        for held in (self._shares, self._passes, self._gradients):
            held.clear()
        del self.batch, self._forward

    def _canonical(self, wrt: Wrt) -> tuple[Key, ...]:
        return canonical(wrt, self._inputs, self._model)

    def _pass(self, keys: tuple[Key, ...], at: Place | None, output_module: str | None = None, *, plain: bool = False) -> ForwardPass:
        known = self._passes.get((at, kind := keys if plain else output_module))
        if known is not None and set(keys) <= set(known.wrt):
            return known
        inputs = known.inputs if known is not None else self._inputs if at is None else ModelInputs.of(check_place(at).inputs(self.batch))
        wider = tuple(dict.fromkeys((*(known.wrt if known else ()), *keys)))
        watch = PassOptions(whole=True) if plain else self._engine.pass_options(self._model)
        self._passes[at, kind] = made = ForwardPass(self._model, inputs, wider, self._pick, self._replay, watch, output_module)
        return made

    def _score(self, of: Of, forward: ForwardPass) -> Score:
        output = forward.values().output
        return Score(base_losses.OwnLoss(self.base) if of == "loss" else heads.resolve(of), output, self._target)
