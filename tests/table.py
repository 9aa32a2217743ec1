"""The table that every engine is held against: its cases, what an engine may be off, and how far it is."""

import warnings

from tests.cases import Case, table
from tests.textbook import distance
from tests.zoo import ZOO

TOLERANCES = {"double_backward": 1e-10, "reverse_over_forward": 1e-10, "finite_difference": 1e-6}
"""Engine -> relative error allowed in float64. A new engine is one row here; what it does not support, one in `LIMITS`."""

LIMITS: dict[str, dict[str, str]] = {
    "reverse_over_forward": {
        "fused_attention": "_scaled_dot_product_flash_attention_for_cpu",
        "checkpointed": "cannot differentiate Checkpointed",  # the recomputation saves other tensors than the pass under jvp did
        "counting": "requires_grad_",  # functorch forbids the call inside the model
    },
}
"""Engine -> model of the zoo -> what its error must name."""

CASES = {case.name: case for case in table()}

WATCHED = [specimen.name for specimen in ZOO if specimen.name != "fused_attention"]
"""Models whose second derivatives are the engine's alone; fused attention has a derivative of our own."""


def error(case: Case, engine: object, earlier_steps: int = 0) -> float:
    """The largest of the relative errors of value, parameter gradient, and parameter gradient relative to the terms' own."""
    expected = case.expected()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*couples the samples.*")
        found = case.found(engine, earlier_steps)
    value = abs(found.value - expected.value) / abs(expected.value)
    assert {name for name, part in found.gradients.items() if part is None} == {name for name, part in expected.gradients.items() if part is None}
    own = distance(expected.terms, dict.fromkeys(expected.terms))
    whole = distance(expected.gradients, dict.fromkeys(expected.gradients))
    relative = distance(found.gradients, expected.gradients)
    return max(value, relative, relative * whole / own if own > 1e-8 else 0)
