"""The engine ``compiled`` on every model of the zoo: the three founding losses in one graph, and what it leaves to the eager engines, with the reason."""

import warnings

import pytest

from inputgrad.engines import Compiled
from tests.cases import ROWS, TOGETHER, Case
from tests.table import error
from tests.zoo import ZOO

EAGERLY = {
    "counting": "the loss reaches 1 tensor(s) that require grad",  # this model calls requires_grad_() on the caller's tensor
}
"""Model -> why it runs eagerly. All others must be compiled."""


@pytest.mark.one_in(3)
@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_the_founding_losses_are_the_textbooks(specimen) -> None:
    rows = tuple(ROWS[name] for name in TOGETHER if not (ROWS[name].one_variable and isinstance(specimen.wrt, (tuple, list))))
    case = Case(specimen, rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = error(case, Compiled(backend="eager"))
    reasons = [str(warning.message) for warning in caught if "'compiled' does not support" in str(warning.message)]
    assert found <= 1e-10
    if specimen.name in EAGERLY:
        assert EAGERLY[specimen.name] in reasons[0]
    else:
        assert not reasons
