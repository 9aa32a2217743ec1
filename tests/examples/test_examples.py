"""Every example runs, and what it claims holds with a margin. The margins stand beside what a run gave (torch 2.13, CPU, one thread)."""

import re
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small matrices on several threads wait for each other more than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def main_of(name: str) -> Callable[..., Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_every_example_is_tested() -> None:
    """Here, or in a file of its own beside this one; the longer ones are studies."""
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    tested |= {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    tested |= set(re.findall(r'"(\w+)"', (Path(__file__).parents[1] / "integrations" / "test_examples.py").read_text()))
    assert {path.stem for path in EXAMPLES.glob("*.py")} - tested == set()


def test_inverse_problem() -> None:
    assert abs(main_of("inverse_problem")(steps=1000) - 0.05) < 0.01  # 0.0477


def test_before_popular_recipe() -> None:
    figures = main_of("before_popular_recipe")(epochs=10)
    assert figures["share"] == 0.0  # exactly
    assert figures["foreign"] > 10  # the second trap: 5.6e3 / 0.02 after 40 epochs


def test_after_inputgrad() -> None:
    figures = main_of("after_inputgrad")()
    assert figures["share"] > 0.05  # 0.21 to 0.64
    assert figures["error"] < 1e-12


def test_the_penalty_acts_after_and_not_before() -> None:
    before, after = main_of("before_popular_recipe")(), main_of("after_inputgrad")()
    assert after["mean_norm"] < 0.8 * before["mean_norm"]


def test_gradient_norm(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    figures = main_of("gradient_norm")(picture)
    plain, trained = figures["plain"], figures["gradient norm"]
    assert trained["mean_norm"] < 0.75 * plain["mean_norm"]  # 0.766 to 0.444
    assert trained["attacked"] > plain["attacked"] + 0.03  # 0.530 to 0.609
    assert trained["clean"] > plain["clean"] - 0.01  # 0.965 to 0.980
    assert picture.stat().st_size > 0


def test_direction_match(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    figures = main_of("direction_match")(picture)
    plain, matched = figures["plain"], figures["direction match"]
    assert matched["cosine"] > 0.9 > plain["cosine"] + 0.1  # 0.959 and 0.693
    assert matched["accuracy"] > plain["accuracy"] - 0.04  # 1.000 to 0.981, two samples of 107
    assert matched["distance"] < plain["distance"] - 0.1  # 2.194 before the path; 1.870 and 1.558 after it
    assert picture.stat().st_size > 0


def test_adversarial(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    figures = main_of("adversarial")(picture)
    without, positive, negative = figures["without the term"], figures["weight +1"], figures["weight -0.05"]
    assert positive[2] > without[2] + 0.1  # at ε = 0.10: 0.483 to 0.717: a positive weight makes robust
    assert negative[2] < without[2] - 0.1  # 0.483 to 0.072: a negative one makes susceptible
    assert negative[0] > 0.8  # and 0.898 clean: it is the attack that bites
    assert picture.stat().st_size > 0


def test_own_term() -> None:
    accuracies = main_of("own_term")()
    assert accuracies["own term"] > accuracies["plain"] + 0.1  # 0.698 to 0.965


def test_critic_penalty(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    figures = main_of("critic_penalty")(picture)
    assert figures["after"] < 0.25 * figures["before"]  # 0.878 to 0.037
    assert figures["off_one"] < 0.5  # 0.215
    assert picture.stat().st_size > 0
