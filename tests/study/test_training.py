"""The training: resumed runs equal uninterrupted ones to the last bit, and the popular recipe equals the plain loss."""

import pytest
import torch

from inputgrad.study import checkpoint
from inputgrad.study.assembly import assemble, try_out
from inputgrad.study.problems import StudyError
from inputgrad.study.training import Training

TERMS = {"base": "cross_entropy", "terms": {"gradient_norm": {"weight": 0.1, "of": {"random_projection": {"n": 1}}}}}
DROPOUT = "tests.study.own_parts:with_dropout"


def weights(training: Training) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in training.assembly.model.parameters()])


def trained(config, epochs: int) -> Training:
    training = Training(assemble(config, config.data.make()))
    for _ in range(epochs):
        training.run_epoch()
    return training


@pytest.mark.parametrize("optimizer", ["adam", {"sgd": {"lr": 0.05, "momentum": 0.9}}])
def test_a_restored_training_goes_on_to_the_identical_weights(config_of, tmp_path, optimizer):
    config = config_of(model=DROPOUT, loss=TERMS, optimizer=optimizer, epochs=3)
    whole = trained(config, 3)
    checkpoint.save(trained(config, 1).state(), tmp_path / "checkpoint.pt")
    torch.manual_seed(99)
    resumed = Training(assemble(config, config.data.make()))
    resumed.restore(checkpoint.load(tmp_path / "checkpoint.pt"))
    while not resumed.finished:
        resumed.run_epoch()
    assert torch.equal(weights(resumed), weights(whole))
    assert [epoch.loss for epoch in resumed.epochs] == [epoch.loss for epoch in whole.epochs]
    assert resumed.assembly.criterion.step_number == whole.assembly.criterion.step_number == 15


def test_the_popular_recipe_trains_the_plain_network_to_the_last_bit(config_of):
    plain = trained(config_of(model={"cnn": {"channels": 4, "hidden": 8}}), 2)
    popular = {"loss": None, "criterion": {"callable": "inputgrad.study.popular:recipe", "settings": {"weight": 5.0}}}
    recipe = trained(config_of(model={"cnn": {"channels": 4, "hidden": 8}}, **popular), 2)
    assert torch.equal(weights(plain), weights(recipe))
    assert recipe.epochs[-1].parts["gradient_norm"] > 0
    norm = trained(config_of(model={"cnn": {"channels": 4, "hidden": 8}}, loss="cross_entropy + 5*gradient_norm(of=loss)"), 2)
    assert not torch.equal(weights(plain), weights(norm))


def test_the_same_config_gives_the_same_network_and_another_seed_another(config_of):
    first, again, other = (trained(config_of(seed=seed), 1) for seed in (0, 0, 1))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("base", ["cross_entropy", "mse", "l1", "smooth_l1", "huber", "bce_with_logits", "soft_margin"])
def test_every_base_loss_of_logits_trains_a_classifier(config_of, base):
    training = trained(config_of(loss=f"{base} + 0.01*gradient_norm(of=loss)", epochs=3), 3)
    assert training.epochs[-1].parts["base"] < training.epochs[0].parts["base"]


@pytest.mark.parametrize("base", ["mse", "l1", "smooth_l1", "huber"])
def test_every_base_loss_of_numbers_trains_a_regression(config_of, base):
    training = trained(config_of(data="diabetes", loss=f"{base} + 0.01*gradient_norm", batch_size=64), 3)
    assert training.epochs[-1].loss < training.epochs[0].loss


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"data": "diabetes"}, "loss.base cross_entropy is for classes, and diabetes is a regression"),
        ({"data": "diabetes", "model": "cnn", "loss": "mse"}, r"model cnn takes images .* shape \[10\]: choose model mlp"),
        ({"model": "tests.study.own_parts:transposed"}, r"the model returned \[4, 11\] for 4 samples, expected \[N, output_size\] = \[4, 10\]"),
        ({"model": "tests.study.own_parts:ones"}, "is called with input_shape="),
        ({"loss": None, "criterion": "tests.study.own_parts:detached"}, "criterion must return a 0-d loss with a graph"),
        ({"loss": "mse + gradient_norm(of=label)"}, 'of="label" needs target to hold integer class labels'),
        ({"loss": {"terms": {"direction_match": {"direction": {"class_mean": {"label": 12}}}}}}, "label=12 is not a class; digits has the classes 0 to 9"),
        ({"loss": {"terms": {"direction_match": {"direction": {"class_mean": {"label": 1}}}}}, "data": "diabetes"}, "diabetes is a regression"),
    ],
)
def test_parts_that_do_not_fit(config_of, values, told):
    config = config_of(**values)
    with pytest.raises(StudyError, match=told):
        try_out(assemble(config, config.data.make()))


def test_a_diverging_loss_is_named(config_of):
    config = config_of(loss=None, criterion="tests.study.own_parts:diverging")
    with pytest.raises(StudyError, match="the loss is nan in epoch 1: lower the learning rate"):
        trained(config, 1)


def test_a_file_that_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoint.pt").write_text("no")
    with pytest.raises(StudyError, match=r"checkpoint\.pt: no checkpoint of this command .* --overwrite"):
        checkpoint.load(tmp_path / "checkpoint.pt")
