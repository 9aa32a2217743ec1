"""An attack, or an attribution, of a model that was left in training mode; and restarts, which are a loop."""

import pytest
import torch
from torch import nn

import inputgrad as ig


def normalised() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("attack", [ig.PGD(0.1, steps=2), ig.FGSM(0.1)])
def test_running_statistics_are_left_alone(attack):
    model, x, y = normalised(), torch.rand(6, 4), torch.randint(3, (6,))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    held = dict(model.named_buffers())
    with pytest.warns(UserWarning, match=r"call model\.eval\(\) first"):
        attack(model, x, y, base="cross_entropy")
    assert model.training
    for name, buffer in model.named_buffers():
        assert buffer is held[name]
        assert torch.equal(buffer, before[name]), name


def test_a_model_in_evaluation_mode_is_not_warned_of(recwarn):
    ig.PGD(0.1, steps=2)(normalised().eval(), torch.rand(6, 4), torch.randint(3, (6,)), base="cross_entropy")
    assert not [str(item.message) for item in recwarn if "model.eval()" in str(item.message)]


@pytest.mark.parametrize("word", ["restarts", "n_restarts"])
def test_restarts_are_a_loop(word):
    with pytest.raises(TypeError, match=r"once per restart.*\.all\(0\)") as caught:
        ig.PGD(0.1, **{word: 5})
    assert "did you mean" not in str(caught.value)


def test_who_trains_after_an_evaluation_is_told_what_that_means_for_the_term():
    model, x, y = normalised(), torch.rand(6, 4), torch.randint(3, (6,))
    with pytest.warns(UserWarning, match=r"call model\.eval\(\) first"):
        ig.FGSM(0.1)(model, x, y, base="cross_entropy")
    with pytest.warns(UserWarning, match="couples the samples of a batch by its statistics, so the input gradient"):
        (nn.CrossEntropyLoss() + ig.GradientNorm())(model, x, y)
