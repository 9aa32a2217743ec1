"""The example of differential machine learning, and what it claims with a margin. The margins stand beside what a run gave (torch 2.13, CPU, one thread)."""

import builtins
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.study  # minutes on a busy machine

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "differential_learning.py"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("make", [lambda: EXAMPLE["basket"](7), EXAMPLE["black_scholes"]], ids=["bachelier", "black_scholes"])
def test_payoffs_and_pathwise_derivatives_have_the_closed_form_as_their_mean(make: Any) -> None:
    """A wrong factor, strike or weight fails; the 4,096 exact prices have a standard error of some 2 %."""
    draw, (_, price, delta) = make()
    _, payoffs, slopes = draw(200000)
    assert payoffs.mean().item() == pytest.approx(price.mean().item(), rel=0.06)
    assert slopes.sum(1).mean().item() == pytest.approx(delta.sum(1).mean().item(), rel=0.06)


def test_closed_forms_are_consistent() -> None:
    """The derivative that is told, integrated, is the price that is told."""
    torch.manual_seed(1)
    _, (spots, price, delta) = EXAMPLE["black_scholes"]()
    order = spots[:, 0].argsort()
    x, y, d = spots[order, 0].double(), price[order, 0].double(), delta[order, 0].double()
    total = y[0] + torch.cumulative_trapezoid(d, x)
    assert float((total - y[1:]).abs().max()) < 1e-3


def test_carbon_dioxide_has_the_derivatives_of_its_pressure() -> None:
    pytest.importorskip("CoolProp", reason="the data come from CoolProp: pip install CoolProp")
    from CoolProp.CoolProp import PropsSI

    draw, _ = EXAMPLE["carbon_dioxide"]()
    inputs, pressure, slopes = draw(20)
    for (density, temperature), p, (by_density, by_temperature) in zip(inputs.tolist(), pressure[:, 0].tolist(), slopes.tolist(), strict=True):

        def at(a: float, b: float) -> float:
            return float(PropsSI("P", "Dmass", a, "T", b, "CO2")) / 1e6

        assert p == pytest.approx(at(density, temperature), rel=1e-5)
        assert by_density == pytest.approx((at(density + 0.1, temperature) - at(density - 0.1, temperature)) / 0.2, rel=1e-3)
        assert by_temperature == pytest.approx((at(density, temperature + 0.1) - at(density, temperature - 0.1)) / 0.2, rel=1e-3)


def test_without_coolprop_its_task_is_left_out_with_a_message(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ordinary = builtins.__import__

    def refusing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "CoolProp":
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    assert [task.name for task in EXAMPLE["tasks"]()] == ["Bachelier basket of 7", "Black-Scholes"]
    assert "pip install CoolProp" in capsys.readouterr().out


def test_differential_learning(tmp_path: Path) -> None:
    """About a minute: 24 trainings."""
    figures = EXAMPLE["main"](tmp_path / "picture.svg")
    basket = figures["Bachelier basket of 7"]
    assert basket[True][2000] < 0.9 * basket[False][4000]  # 0.214 and 0.524 % of the spot; 0.41 to 0.73 over four baskets
    assert all(error < 0.9 * basket[False][size] for size, error in basket[True].items())  # 0.26 to 0.53; up to 0.76 over four baskets
    if "carbon dioxide" in figures:
        gas = figures["carbon dioxide"]
        assert all(error < 0.6 * gas[False][size] for size, error in gas[True].items())  # 0.21 to 0.32
    assert (tmp_path / "picture.svg").stat().st_size > 0
