"""What is measured: against closed forms of a linear network, and that measuring leaves no trace."""

import pytest
import torch

from inputgrad.report.record import RunRecord
from inputgrad.study import measures
from inputgrad.study.assembly import assemble
from inputgrad.study.training import Training

LINEAR = "tests.study.own_parts:linear"
ALL = {"epsilons": [0.0, 0.1], "samples": 3, "steps": 2, "step_size": 0.5, "of": {"one_output": {"index": 3}}}


@pytest.fixture
def linear(config_of):
    config = config_of(model=LINEAR, measures={**ALL, "direction": {"towards_class": {"label": 3}}})
    return assemble(config, config.data.make())


def test_gradient_norms_of_a_linear_network(linear):
    weight, data = linear.model[1].weight.detach(), linear.data
    probabilities = linear.output(data.test_inputs).softmax(1)
    expected = ((probabilities - torch.nn.functional.one_hot(data.test_labels, 10)) @ weight).norm(dim=1)
    assert torch.allclose(torch.tensor(measures.gradient_norms(linear)), expected, atol=1e-6)


def test_pictures_path_and_cosine_of_a_linear_network(linear):
    row = linear.model[1].weight.detach()[3]
    record = measures.measured(linear, [], (0.1, [1.0]), 1.0)
    assert torch.allclose(torch.tensor(record.pictures.gradients), row.reshape(1, 8, 8).expand(3, 8, 8))
    assert record.pictures.labels == ["0", "1", "2"]
    assert record.pictures.score == record.path.score == "the output of class 3"
    path = torch.tensor(record.path.images)
    assert path.shape == (3, 3, 8, 8)
    moved = (path[:, 0] + 0.5 * (row / row.norm()).reshape(8, 8)).clamp(0, 1)
    assert torch.allclose(path[:, 1], moved, atol=1e-6)
    assert len(record.path.scores) == 3
    assert all(scores == sorted(scores) for scores in record.path.scores)
    wanted = linear.data.class_means()[3] - linear.data.test_inputs
    assert record.mean_cosine == pytest.approx(torch.cosine_similarity(wanted.flatten(1), row[None]).mean().item(), abs=1e-6)


def test_attacks_lower_the_accuracy_and_the_stronger_one_more(config_of):
    config = config_of(measures=ALL)
    training = Training(assemble(config, config.data.make()))
    for _ in range(5):
        training.run_epoch()
    weak, strong = measures.measured(training.assembly, training.epochs, (0.1, []), 1.0).attacks
    assert (weak.name, strong.name) == ("LinfPGD(steps=20)", "LinfPGD(steps=40, rel_stepsize=0.1)")
    assert weak.accuracies[0] == strong.accuracies[0] == pytest.approx(training.epochs[-1].test_score)
    assert strong.accuracies[1] <= weak.accuracies[1] < weak.accuracies[0]


def test_measuring_leaves_no_trace(linear):
    linear.model.train()
    before, state = [parameter.clone() for parameter in linear.model.parameters()], torch.get_rng_state()
    measures.measured(linear, [], (0.1, []), 1.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert linear.model.training
    assert all(torch.equal(*pair) for pair in zip(before, linear.model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in linear.model.parameters())


@pytest.mark.parametrize("values", [{"data": "diabetes", "loss": "mse"}, {"data": "breast_cancer"}])
def test_tables_have_no_pictures_and_the_record_survives_json(config_of, values):
    import json

    config = config_of(**values, measures={"epsilons": [0.1]})
    record = measures.measured(assemble(config, config.data.make()), [], (0.1, [1.0]), 1.0)
    assert record.pictures is None
    assert record.path is None
    assert bool(record.attacks) == (record.task == "classification")
    assert RunRecord.from_json(json.loads(json.dumps(record.to_json(), allow_nan=False))) == record
