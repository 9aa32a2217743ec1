"""``of="label"`` where the labels are a part of the target: every term that differentiates the model itself, in plain torch."""

import pytest
import torch
from torch import Tensor, nn

import inputgrad as ig
from inputgrad.heads import LabelOutput

torch.manual_seed(0)
MODEL = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4)).double()
X, ELSEWHERE = (torch.rand(n, 3, dtype=torch.float64) for n in (5, 7))
Y, LABELS = torch.tensor([0, 1, 2, 3, 1]), torch.tensor([3, 1, 2, 3, 1, 0, 0])
CROSS_ENTROPY = nn.CrossEntropyLoss()


def derivatives(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient and Hessian of the labels' outputs."""
    z = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(MODEL(z).gather(1, labels[:, None]).sum(), z, create_graph=True)
    return first, torch.stack([torch.autograd.grad(first[:, i].sum(), z, create_graph=True)[0] for i in range(3)], 1)


WAYS = {
    "OnTarget": (ig.OnTarget("y", CROSS_ENTROPY), "label"),
    "a key": (None, LabelOutput("y")),
    "a key beside a loss of one's own": (lambda output, target: CROSS_ENTROPY(output, target["y"]), LabelOutput("y")),
}
TERMS = {
    "GradientNorm": (lambda of: ig.GradientNorm(of=of, power=2), lambda: derivatives(X, Y)[0].square().sum(1).mean()),
    "HessianMatch": (lambda of: ig.HessianMatch(torch.ones(5, 3, 3), of=of), lambda: (derivatives(X, Y)[1] - 1).square().sum((1, 2)).mean()),
    "Convex": (lambda of: ig.Convex({1: 1}, margin=1.0, of=of), lambda: (1 - derivatives(X, Y)[1][:, 1, 1]).relu().mean()),
    "elsewhere": (
        lambda of: ig.Convex({1: 1}, margin=1.0, of=of, at=ig.Given(ELSEWHERE, target={"y": LABELS})),
        lambda: (1 - derivatives(ELSEWHERE, LABELS)[1][:, 1, 1]).relu().mean(),
    ),
    "JacobianMatch": (lambda of: ig.JacobianMatch(torch.ones(4, 3), of=of), lambda: (derivatives(X, Y)[0] - 1).square().sum(1).mean()),
    "a teacher": (lambda of: ig.JacobianMatch(nn.Linear(3, 4, bias=False).double(), of=of), None),
}


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("way", WAYS)
def test_labels_are_a_part_of_the_target(way, name):
    (base, of), (term, by_hand) = WAYS[way], TERMS[name]
    made = term(of)
    loss = ig.InputGradientLoss(base, made)(MODEL, X, {"y": Y})
    wanted = (derivatives(X, Y)[0] - made.wanted.weight.detach()[Y]).square().sum(1).mean() if by_hand is None else by_hand()
    wanted = wanted + (0 if base is None else CROSS_ENTROPY(MODEL(X), Y))
    torch.testing.assert_close(loss, wanted)
    parameters = list(MODEL.parameters())
    for one, other in zip(*(torch.autograd.grad(value, parameters, materialize_grads=True, allow_unused=True) for value in (loss, wanted)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("term", [ig.GradientNorm(of="label"), ig.Convex({0: 1}, of="label"), ig.HessianMatch(torch.zeros(3, 3), of="label")])
def test_labels_that_are_not_found_are_told_how_to_be_named(term):
    with pytest.raises(ValueError, match=r"of=ig\.heads\.LabelOutput\('y'\), or the base loss ig\.OnTarget\('y', base\)"):
        ig.InputGradientLoss(None, term)(MODEL, X, {"y": Y})
    with pytest.raises(ValueError, match=r"^LabelOutput: key='z' is not a part of the target; .*Known: 'y'"):
        ig.InputGradientLoss(None, ig.GradientNorm(of=LabelOutput("z")))(MODEL, X, {"y": Y})
    with pytest.raises(ValueError, match=r"the place needs their labels: ig\.Given\(samples, target=labels\)"):
        ig.InputGradientLoss(None, ig.Convex({0: 1}, of="label", at=ig.Given(ELSEWHERE)))(MODEL, X, Y)


def test_scores_of_a_batch_in_a_term_of_ones_own():
    @ig.term
    def confident(batch: ig.Batch) -> Tensor:
        return batch.scores(batch.output, "label").square()

    loss = (ig.OnTarget("y", CROSS_ENTROPY) + confident)(MODEL, X, {"y": Y})
    torch.testing.assert_close(loss, CROSS_ENTROPY(MODEL(X), Y) + MODEL(X).gather(1, Y[:, None]).square().mean())
