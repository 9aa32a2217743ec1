"""``of="label"`` beside ``OnTarget``: the class labels are the part of the target that the base loss reads."""

import pytest
import torch
from torch import nn

import inputgrad as ig


def by_hand(model, x, y, w):
    z = x.clone().requires_grad_()
    output = model(z)
    (g,) = torch.autograd.grad(output.gather(1, y[:, None]).sum(), z, create_graph=True)
    return nn.functional.cross_entropy(output, y) + 0.3 * (w * g.square().sum(1)).mean()


def settings(target):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    x, y, w = torch.rand(5, 3, dtype=torch.float64), torch.tensor([0, 1, 3, 2, 1]), torch.rand(5, dtype=torch.float64)
    return model, x, y, w, target(y, w)


@pytest.mark.parametrize("engine", ["double_backward", "reverse_over_forward", "auto"])
@pytest.mark.parametrize(("key", "weights", "target"), [("y", "w", lambda y, w: {"y": y, "w": w}), (0, 1, lambda y, w: (y, w))], ids=["dict", "tuple"])
def test_the_label_is_the_part_that_the_base_loss_reads(engine, key, weights, target):
    model, x, y, w, given = settings(target)
    criterion = ig.OnTarget(key, "cross_entropy") + 0.3 * ig.GradientNorm(power=2, of="label").sample_weight(weights)
    criterion.engine = engine
    for _ in range(3):  # the first step, and plain ones
        loss = criterion(model, x, given)
        torch.testing.assert_close(loss, by_hand(model, x, y, w))
    found = torch.autograd.grad(loss, list(model.parameters()))
    torch.testing.assert_close(found, torch.autograd.grad(by_hand(model, x, y, w), list(model.parameters())))


def test_one_output_of_several_too():
    class Two(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            return {"logits": self.body(x), "value": x.sum(1)}

    body, x, y, w, given = settings(lambda y, w: {"y": y, "w": w})
    base = ig.OnTarget("y", lambda out, y: nn.functional.cross_entropy(out["logits"], y))
    criterion = ig.InputGradientLoss(base, 0.3 * ig.GradientNorm(power=2, of=ig.heads.Output("logits", of="label")).sample_weight("w"))
    torch.testing.assert_close(criterion(Two(body), x, given), by_hand(body, x, y, w))


def test_a_part_that_is_not_there_is_told():
    model, x, _, w, _ = settings(lambda y, w: None)
    with pytest.raises(ValueError, match="is not a part of the target"):
        ig.InputGradientLoss(ig.OnTarget("y", "cross_entropy"), ig.GradientNorm(of="label"))(model, x, {"z": w})


@pytest.mark.parametrize("term", [ig.GradientNorm(), ig.recipes.wgan_gp(), ig.recipes.energy_and_forces().terms[0], ig.term(lambda batch: batch.output)])
def test_a_term_that_is_called_as_a_loss_is_told(term):
    with pytest.raises(TypeError, match=r"is a term, not a loss: add it to a base loss, .*InputGradientLoss\(None, term\)"):
        term(nn.Linear(2, 1), torch.rand(3, 2), torch.rand(3, 1))


def test_a_dict_whose_part_nobody_names_is_told():
    model, x, _, _, given = settings(lambda y, w: {"y": y, "w": w})
    base = lambda output, target: nn.functional.cross_entropy(output, target["y"])  # noqa: E731  # as people write
    with pytest.raises(ValueError, match=r"needs target to hold integer class labels .* got dict\. Of one part of it: .*ig\.OnTarget\('y', base\)"):
        ig.InputGradientLoss(base, ig.GradientNorm(of="label"))(model, x, given)
