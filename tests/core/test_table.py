"""Every engine against the textbook, on the whole table: value and parameter gradient, the error told relative to the terms' own gradient too."""

import warnings

import pytest
import torch

from inputgrad import EngineError
from tests.cases import Case, table
from tests.textbook import distance

TOLERANCES = {"double_backward": 1e-10, "reverse_over_forward": 1e-10, "finite_difference": 1e-6}
"""Engine -> relative error allowed in float64. A new engine is one row here; what it cannot serve, one in `LIMITS`."""

LIMITS: dict[str, dict[str, str]] = {
    "reverse_over_forward": {
        "fused_attention": "_scaled_dot_product_flash_attention_for_cpu",
        "checkpointed": "cannot differentiate Checkpointed",  # the recomputation saves other tensors than the pass under jvp did
        "counting": "requires_grad_",  # functorch forbids the call inside the model
    },
}
"""Engine -> model of the zoo -> what its error must name."""

CASES = {case.name: case for case in table()}


def error(case: Case, engine: object) -> float:
    """The largest of the relative errors of value, parameter gradient, and parameter gradient relative to the terms' own."""
    expected = case.expected()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*couples the samples.*")
        found = case.found(engine)
    value = abs(found.value - expected.value) / abs(expected.value)
    assert {name for name, part in found.gradients.items() if part is None} == {name for name, part in expected.gradients.items() if part is None}
    own = distance(expected.terms, dict.fromkeys(expected.terms))
    whole = distance(expected.gradients, dict.fromkeys(expected.gradients))
    relative = distance(found.gradients, expected.gradients)
    return max(value, relative, relative * whole / own if own > 1e-8 else 0)


@pytest.mark.parametrize("engine", TOLERANCES)
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_are_the_textbooks(engine: str, name: str) -> None:
    case = CASES[name]
    limit = LIMITS.get(engine, {}).get(case.specimen.name) if any(row.second_order for row in case.rows) else None
    if limit is None:
        assert error(case, engine) <= TOLERANCES[engine]
    else:
        with pytest.raises(EngineError, match=limit) as refused:
            case.found(engine)
        assert "engine='finite_difference'" in str(refused.value)  # the way out


def test_the_terms_of_the_table_pull_at_the_parameters() -> None:
    """Were the terms' own gradients zero, the table would hold for any engine."""
    silent = {case.name for case in CASES.values() if all(part is None or not part.any() for part in case.expected().terms.values())}
    assert silent == set()


def test_the_random_stream_is_left_where_a_plain_pass_leaves_it() -> None:
    case = CASES["dropout-norm_squared+direction+fgsm-7"]
    case.found("double_backward")
    after = torch.rand(())
    torch.manual_seed(4)
    case.specimen.make()(case.specimen.data(case.size))
    assert torch.equal(after, torch.rand(()))
