"""Every engine against the textbook, on the whole table: value and parameter gradient, the error told relative to the terms' own gradient too."""

import pytest
import torch

from inputgrad import EngineError
from tests.table import CASES, LIMITS, TOLERANCES, error


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("mostly_unverified")
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
