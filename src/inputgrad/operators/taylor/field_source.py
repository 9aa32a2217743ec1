"""Where a field has its numbers from: a pass of the model that is made at the first request, by nesting or on jets.

A derivative that the pass does not bring is left to reverse mode, which differentiates what is there.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from inputgrad.memory import memory
from inputgrad.operators.differentiation import gradients, gradients_of_output
from inputgrad.operators.taylor import reference
from inputgrad.operators.taylor.layout import Index
from inputgrad.operators.taylor.model_pass import NUMBERS, Expansion, expanded, unit_directions
from inputgrad.operators.taylor.plan import SMALL, Learnt, Plan, Request, is_worth, planned
from inputgrad.operators.taylor.trust import give_up, why_not
from inputgrad.passes.forward_pass import ForwardPass
from inputgrad.passes.second_input_derivative import check_second_input_derivative
from inputgrad.torch_internals import messages
from inputgrad.torch_internals.tracing import is_tracing
from inputgrad.variables import Key, is_module

MOST_KINDS = 64
"""How many kinds of fields are remembered of a model: more come from functions that are made anew at each step."""


class FieldSource:
    """Output, variables and derivatives of one field."""

    def __init__(self, keys: tuple[Key, ...], opened: Callable[[], tuple[Tensor, tuple[Tensor, ...]]], forward: ForwardPass, kind: Hashable) -> None:
        self.keys = keys
        self._open, self._forward = opened, forward
        self._here: tuple[Tensor, tuple[Tensor, ...]] | None = None
        self._expansion: Expansion | None = None
        self._plan: Plan | None = None
        self._requests: set[Request] | None = None
        self._differentiated: list[Tensor] = []
        self._derivatives: list[Tensor] = []
        self._learnt = _learnt(forward, kind)
        if any(map(is_module, keys)):  # a variable that no input holds: its shape is known after a pass
            self._here = opened()

    @property
    def is_first(self) -> bool:
        """Whether no field of this kind has been asked for anything yet."""
        return not self._learnt.by_first

    @property
    def requests(self) -> frozenset[Request]:
        """What it was asked for until now."""
        return frozenset(self._requests or ())

    def open(self) -> Tensor:
        """The output, of a pass without jets that is made now; no request."""
        self._here = self._here or self._open()
        return self._here[0]

    @property
    def by_taylor(self) -> bool:
        """Whether the pass was made on jets."""
        return self._expansion is not None

    def ask(self, request: Request) -> None:
        """Note a request; the first one makes the pass."""
        if self._requests is not None:
            self._requests.add(request)
            return
        expected, self._requests = self._learnt.begin(request)
        if self._here is not None:
            return
        plan = planned(expected or frozenset((request,)))  # the first field of its kind has its first request to go by
        if plan is not None and self._is_worth(plan):
            with self._forward.outside():
                if self._by_taylor(self._forward, plan):
                    return
        self._here = self._open()

    @property
    def output(self) -> Tensor:
        """The model's output."""
        return self._opened()[0]

    @property
    def variables(self) -> tuple[Tensor, ...]:
        """The variables in the same graph."""
        return self._opened()[1]

    def slopes(self, value: Tensor) -> tuple[Tensor, ...]:
        """∂ Σ value / ∂z for each variable z. value: the output, or one of several."""
        output, variables = self._opened()
        if self._expansion is None and value.numel() == output.numel():
            return gradients_of_output(self._forward, value, self.keys, variables)
        return gradients(value, variables, self.keys)

    def shapes(self) -> list[Tensor]:
        """Tensors of the variables' shapes, known before the pass."""
        return [self._forward.inputs.variable(key) for key in self.keys] if self._here is None else list(self._here[1])

    def derivative(self, order: Index) -> Tensor | None:
        """A derivative of the output, of its shape, where the pass has brought it."""
        if self._expansion is None or self._plan is None or not set(order) <= set(self._plan.coordinates):
            return None
        index = self._plan.index(order)
        if not self._plan.layout.holds(index):
            return None
        with self._forward.outside():
            found = self._expansion.coefficient(index)
        self._derivatives.append(found)
        return found

    def sum(self, orders: Sequence[Index]) -> Tensor | None:
        """A sum of derivatives, where the pass has brought it as one."""
        if self._expansion is None or self._plan is None or not {number for order in orders for number in order} <= set(self._plan.coordinates):
            return None
        times = Counter(self._plan.index(order) for order in orders)
        for number, sum_ in enumerate(self._plan.layout.sums):
            if times == {index: weight for weight, index in sum_}:
                with self._forward.outside():
                    return self._expansion.sum(number)
        return None

    def check_second(self) -> None:
        """To be called before a first derivative of the output is differentiated again. Raises `EngineError` where that gives another function."""
        with self._forward.outside():
            check_second_input_derivative(self._forward)

    def note(self, quantity: Tensor | None, derivatives: Sequence[Tensor]) -> None:
        """Note what was differentiated by reverse mode, where it is not the output itself, and what came of it."""
        self._differentiated += [] if quantity is None else [quantity]
        self._derivatives += derivatives

    def second_order(self) -> ForwardPass | None:
        """The pass, where a derivative of second or higher order was asked for, of the output or of a quantity that holds a derivative."""
        by_name = any(len(order) > 1 for _, orders in self._requests or () for order in orders)
        return self._forward if by_name or any(_hangs_on(quantity, self._derivatives) for quantity in self._differentiated) else None

    def _opened(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        self.ask(("open", ()))
        assert self._here is not None
        return self._here

    def _is_worth(self, plan: Plan) -> bool:
        """Whether jets are quicker, as far as is known before a first pass on them."""
        known = memory(self._forward.model).measured
        if (numbers := known.get(NUMBERS)) is None:
            return True
        worth = is_worth(plan.passes, numbers * self._forward.inputs.variable(self.keys[0]).shape[0]) or is_tracing()  # a compiled rule costs no Python
        known[SMALL, plan] = not worth
        return worth

    def _by_taylor(self, forward: ForwardPass, plan: Plan) -> bool:
        def taylor(few: ForwardPass) -> list[Tensor]:
            return reference.read(expanded(few, self.keys, plan.layout, unit_directions(plan.coordinates)), plan)

        def nested(few: ForwardPass) -> list[Tensor]:
            here = few.primal()
            return reference.nested(here.output, tuple(here.variables[key] for key in self.keys), plan)

        if why_not(forward, self.keys, ("field", plan), plan.layout.order, taylor, nested) is not None or not self._is_worth(plan):
            return False
        try:
            expansion = expanded(forward, self.keys, plan.layout, unit_directions(plan.coordinates))
        except Exception as error:  # what the model itself raises comes again
            if messages.is_machine_error(error):
                raise
            give_up(forward, self.keys, ("field", plan), error)
            return False
        forward.own_leaves += expansion.variables
        self._expansion, self._plan = expansion, plan
        self._here = (expansion.value, expansion.variables)
        return True


def _hangs_on(quantity: Tensor, derivatives: Sequence[Tensor]) -> bool:
    there = [part for part in derivatives if part.requires_grad]
    if not quantity.requires_grad or not there:
        return False
    return any(part is not None for part in torch.autograd.grad(quantity.sum(), there, retain_graph=True, allow_unused=True))


def _learnt(forward: ForwardPass, kind: Hashable) -> Learnt:
    kinds = memory(forward.model).measured.setdefault("fields", {})
    while len(kinds) >= MOST_KINDS and kind not in kinds:
        del kinds[next(iter(kinds))]
    learnt: Learnt = kinds.setdefault(kind, Learnt())
    return learnt
