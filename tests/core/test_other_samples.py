"""Places of other samples: what is not differentiated there (labels, tokens, masks) is handed to the model as it was given."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from tests.traced import traced

pytestmark = pytest.mark.usefixtures("unverified")  # tests/verification has the check of the first step

SEEN: list[tuple[torch.dtype, ...]] = []


class Conditional(nn.Module):
    """A critic of samples, their classes, and a mask of their features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(3, 4)
        self.body = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        SEEN.append((label.dtype, mask.dtype))
        return self.body(torch.cat((x * mask, self.embedding(label)), 1))  # type: ignore[no-any-return]  # a module's result


def samples(count: int, seed: int) -> dict[str, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (count,), generator=draws)
    return {"x": torch.randn(count, 4, generator=draws), "label": label, "mask": torch.rand(count, 4, generator=draws) > 0.3}


REAL = samples(6, 1)
NAMES = tuple(REAL)


def by_hand(model: nn.Module, there: dict[str, Tensor], power: int = 2) -> Tensor:
    x = there["x"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(**{**there, "x": x}).sum(), x, create_graph=True)
    return gradient.norm(dim=1).pow(power).mean()


def check(criterion: Any, expected: Any, model: nn.Module, inputs: Any, target: Any) -> None:
    SEEN.clear()
    loss = criterion(model, inputs, target)
    assert set(SEEN) == {(torch.int64, torch.bool)}, "labels and masks reach the model as they were given"
    wanted = expected(model)
    torch.testing.assert_close(loss, wanted, rtol=2e-3, atol=1e-6)
    found, by_autograd = (torch.autograd.grad(value, list(model.parameters()), allow_unused=True, materialize_grads=True) for value in (loss, wanted))
    for one, other in zip(found, by_autograd, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("engine", ["auto", "double_backward", "reverse_over_forward", "finite_difference", "compiled"])
@pytest.mark.parametrize("count", [6, 9])
@pytest.mark.parametrize("named", [True, False])
def test_given_integers_and_bools_are_handed_over_as_they_are(engine: str, count: int, named: bool) -> None:
    fake = samples(count, 2)
    place = ig.Given(fake if named else tuple(fake.values()))
    term = ig.GradientNorm(power=2, wrt="x" if named else 0, at=place)
    check(
        ig.InputGradientLoss(None, term, engine=traced(engine)),
        lambda model: by_hand(model, fake),
        Conditional(),
        REAL if named else tuple(REAL.values()),
        None,
    )


FAKE = samples(9, 3)
WAYS: dict[str, tuple[Any, Any]] = {
    "tensors in a dict": (FAKE, None),
    "tensors in a tuple": (tuple(FAKE.values()), None),
    "names of the target": ({name: f"fake_{name}" for name in NAMES}, {f"fake_{name}": z for name, z in FAKE.items()}),
    "positions of the target": ((0, 1, 2), tuple(FAKE.values())),
    "a callable": (lambda batch: batch.target, FAKE),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrt", ["x", 0])
def test_recipes_take_the_fakes_own_labels(way: str, wrt: Any) -> None:
    fake, target = WAYS[way]
    check(ig.InputGradientLoss(None, ig.recipes.r2(3.0, fake=fake, wrt=wrt)), lambda model: 1.5 * by_hand(model, FAKE), Conditional(), REAL, target)
    both = ig.InputGradientLoss(None, ig.recipes.r3gan(2.0, fake=fake, wrt=wrt))
    check(both, lambda model: by_hand(model, FAKE) + by_hand(model, REAL), Conditional(), REAL, target)


PLACES: dict[str, Any] = {
    "Interpolate": ig.Interpolate(torch.randn(6, 4), wrt="x"),
    "Uniform": ig.Uniform(0.0, 1.0, wrt="x"),
    "Near": ig.Near(0.1, share=0.0, wrt="x"),
    "Perturbed": ig.Perturbed(ig.FGSM(0.1, of="output", wrt="x")),
    "Given one": ig.Given(torch.randn(6, 4), wrt="x"),
    "Given the labels alone": ig.Given({"label": torch.tensor([0, 1, 2, 0, 1, 2])}),
    "Given the mask alone": ig.Given({"mask": torch.ones(6, 4, dtype=torch.bool)}),
}


@pytest.mark.parametrize("name", PLACES)
def test_every_place_leaves_the_others_as_they_are(name: str) -> None:
    SEEN.clear()
    loss = ig.InputGradientLoss(None, ig.GradientNorm(wrt="x", at=PLACES[name]))(Conditional(), REAL, None)
    assert loss > 0
    assert set(SEEN) == {(torch.int64, torch.bool)}


def test_a_term_of_ones_own_and_the_batch_at_a_place() -> None:
    model, place = Conditional(), ig.Given(FAKE)

    @ig.term(wrt="x")
    def at_the_fakes(batch: ig.Batch) -> Tensor:
        assert batch.at(place).inputs["label"].dtype == torch.int64
        return batch.gradient(wrt="x", at=place).square().sum(1) + 0 * batch.at(place).output[:, 0]

    torch.testing.assert_close(ig.InputGradientLoss(None, at_the_fakes)(model, REAL, None), by_hand(model, FAKE))


def test_the_embedding_of_other_tokens_is_differentiated() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.embedding, self.body = nn.Embedding(7, 3), nn.Linear(3, 1)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.body(self.embedding(tokens).tanh().mean(1))  # type: ignore[no-any-return]  # likewise

    model, here, there = Text(), torch.randint(7, (5, 4)), torch.randint(7, (8, 4))
    loss = ig.InputGradientLoss(None, ig.GradientNorm(wrt="module:embedding", at=ig.Given(there)))(model, here, None)
    expected = ig.InputGradientLoss(None, ig.GradientNorm(wrt="module:embedding"))(model, there, None)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(ig.InputGradientLoss(None, ig.recipes.r2(2.0, fake=(there,), wrt="module:embedding"))(model, here, None), _norm2(model, there))


def _norm2(model: nn.Module, tokens: Tensor) -> Tensor:
    return ig.InputGradientLoss(None, ig.GradientNorm(power=2, wrt="module:embedding"))(model, tokens, None)


@pytest.mark.parametrize(
    ("place", "kind", "match"),
    [
        (
            lambda: ig.Given({**REAL, "label": REAL["label"].float()}),
            TypeError,
            r"must be integers, as the batch's own .* torch.int64; got torch.float32",
        ),
        (lambda: ig.Given({"x": FAKE["x"]}), ValueError, r"9 samples for \['x'\].*'label': \[6\].*in a tuple or dict"),
        (lambda: ig.Given({**REAL, "label": FAKE["label"]}), ValueError, "same number of samples"),
        (lambda: ig.Given({"x": FAKE["x"], "lable": FAKE["label"]}), ValueError, "did you mean 'label'"),
        (lambda: ig.Given({"x": FAKE["x"]}, wrt="y"), TypeError, r"wrt='y' is none of \['x'\]; leave it out"),
    ],
)
def test_errors(place: Any, kind: type[Exception], match: str) -> None:
    with pytest.raises(kind, match=match):
        ig.InputGradientLoss(None, ig.GradientNorm(wrt="x", at=place()))(Conditional(), REAL, None)


def test_integers_that_are_differentiated_are_still_an_error() -> None:
    with pytest.raises(TypeError, match="no derivative with respect to integers"):
        ig.InputGradientLoss(None, ig.GradientNorm(wrt="label", at=ig.Given(REAL)))(Conditional(), REAL, None)
