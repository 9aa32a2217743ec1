"""torch's own operations and modules: every engine is right, or refuses; what is known to be wrong is listed, and the list is exact.

`make test` tries one operation in sixty and one module in twenty, `make study` all of them. torch's lists take seconds to import, so each test does it
by itself.
"""

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn

from tests.opdb import page
from tests.opdb.known import KNOWN
from tests.opdb.reference import NO_AGREEMENT, NO_NUMBER, Reference, laplacian_by_differences, laplacian_value, penalty, reference
from tests.opdb.wrapped import Case
from tests.sampling import is_one_in

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of deprecated operations among its samples


def check(names: Iterable[str], judge: Callable[[str], Iterable[object]]) -> None:
    from tests.opdb.study import bad

    wrong = {name: engines for name in names if (engines := bad(judge(name)))}  # type: ignore[arg-type]
    known = {name: KNOWN[name] for name in names if name in KNOWN}
    new = {f"{name}, {engine}": what for name, engines in wrong.items() for engine, what in engines.items() if engine not in known.get(name, ())}
    mended = [f"{name}, {engine}" for name, engines in known.items() for engine in engines if engine not in wrong.get(name, ())]
    assert not new, f"wrong, or an error from inside: {new}"
    assert not mended, f"right by now, or refused; take them out of tests/opdb/known.py: {sorted(mended)}"


def test_some_of_the_operations() -> None:
    from tests.opdb import operations, study

    names = [name for name in operations.OPERATIONS if is_one_in(60, name)]
    assert len(names) >= 6
    check(names, study.of_operation)


def test_some_of_the_modules() -> None:
    from tests.opdb import modules, study

    names = [name for name in modules.MODULES if is_one_in(20, name)]
    assert len(names) >= 4
    check(names, study.of_module)


@pytest.mark.study
def test_all_operations_and_modules() -> None:
    from tests.opdb import modules, operations, study

    check(operations.OPERATIONS, study.of_operation)
    check(modules.MODULES, study.of_module)
    assert KNOWN.keys() <= operations.OPERATIONS.keys() | modules.MODULES.keys()


def test_the_page_is_the_records() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    run = [path for path in (page.RECORD, page.ZOO) if path.exists()]  # the record of the zoo is there from its first run on
    zoo = page.zoo_tables(page.read(page.ZOO)) if page.ZOO in run else {}
    assert page.rewritten(text, page.tables(page.read()) | zoo) == text
    for path in run:
        assert path.read_text(encoding="utf-8") == page.text_of(page.read(path))


def test_what_is_known_to_be_wrong_is_what_the_record_holds() -> None:
    """Run ``python -m tests.opdb`` after a change to either."""
    record = page.read()
    wrong: dict[str, set[str]] = {}
    for part in ("operations", "modules"):
        for kind in ("wrong", "NaN", "raw errors"):
            for row in record[part][kind]:
                wrong.setdefault(row["of"], set()).add(row["engine"])
    assert wrong == KNOWN


def small() -> tuple[nn.Module, tuple[Tensor, ...], Reference]:
    model, inputs = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double(), (torch.rand(1, 3).double(),)
    known = reference(list(model.parameters()), lambda: penalty(model, inputs))
    assert isinstance(known, Reference)
    return model, inputs, known


def gradient_of(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return list(torch.autograd.grad(g.square().sum(), list(model.parameters()), allow_unused=True, materialize_grads=True))


def test_the_reference_agrees_with_a_right_gradient() -> None:
    model, (x,), known = small()
    assert known.misfit(gradient_of(model, x)) < 1e-7


@pytest.mark.parametrize("tensor", [0, 1, 2])
def test_the_reference_sees_one_tensor_that_is_wrong_by_a_thousandth(tensor: int) -> None:
    model, (x,), known = small()
    gradient = gradient_of(model, x)
    gradient[tensor] = gradient[tensor] * 1.001
    assert known.misfit(gradient) > 1e-5


def test_the_laplacian_by_differences_is_plain_torchs() -> None:
    model, (x,) = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double(), (torch.rand(1, 3).double(),)
    by_differences = laplacian_by_differences(model, (x,))
    assert by_differences == pytest.approx(laplacian_value(model, (x,)), rel=1e-7)
    assert laplacian_by_differences(model, (torch.rand(1, 17),)) is None


def test_what_is_no_number_is_left_as_it_is() -> None:
    """A mask's −∞ would make every parameter NaN by 0 · ∞."""
    x = torch.tensor([1.0, -math.inf, 3.0], dtype=torch.float64, requires_grad=True)
    model, inputs = Case("softmax", "0", lambda z: z.softmax(0), (x,), {}).model()
    (g,) = torch.autograd.grad(model(*[z.requires_grad_() for z in inputs]).sum(), inputs, create_graph=True)
    gradients = torch.autograd.grad(g.square().sum(), list(model.parameters()))
    assert all(part.isfinite().all() for part in (g, *gradients))
    assert g[0, 0] != 0


def test_a_kink_and_what_is_no_number_give_no_reference() -> None:
    at = torch.zeros(1, dtype=torch.float64)
    assert reference([at], lambda: float(at > 0)) == NO_AGREEMENT
    assert reference([at], lambda: float(abs(at))) == NO_AGREEMENT
    assert reference([at], lambda: float(at == 0) + float(at)) == NO_AGREEMENT
    assert reference([at], lambda: float("nan")) == NO_NUMBER
