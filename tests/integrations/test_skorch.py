"""skorch's nets train what a bare loop trains, predict, print the parts, and go through scikit-learn's clone and grid search."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import inputgrad as ig
from tests.integrations import bare

skorch = pytest.importorskip("skorch", reason="skorch is not installed: pip install 'inputgrad[skorch]'")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

from inputgrad.integrations.skorch import InputGradientClassifier, InputGradientRegressor, part_scores  # noqa: E402

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("DeprecationWarning", "FutureWarning")]


def net(criterion: Any, **settings: object) -> InputGradientClassifier:
    settings = {"train_split": None, "verbose": 0, "max_epochs": 2, **settings}
    return InputGradientClassifier(bare.model, criterion=criterion, optimizer=torch.optim.SGD, optimizer__momentum=0.9, lr=0.05, batch_size=8, **settings)


def arrays() -> tuple[np.ndarray, np.ndarray]:
    x, y = bare.data()
    return x.numpy(), y.numpy()


def test_the_classifier_gets_the_weights_of_the_bare_loop() -> None:
    reference, criterion = bare.model(), bare.criterion()
    bare.loop(reference, lambda x, y: criterion(reference, x, y), bare.batches(8))
    found = net(bare.criterion()).fit(*arrays())
    assert bare.distance(found.module_, reference) == 0
    probabilities = found.predict_proba(arrays()[0])
    np.testing.assert_allclose(probabilities, reference(bare.data()[0]).softmax(1).detach(), rtol=1e-5)  # softmax, as for a bare CrossEntropyLoss
    assert (found.predict(arrays()[0]) == probabilities.argmax(1)).all()
    assert isinstance(found.criterion_, ig.InputGradientLoss)


def test_the_regressor_gets_the_weights_of_the_bare_loop() -> None:
    target = torch.randn(bare.N, bare.CLASSES)
    reference, criterion = bare.model(), nn.MSELoss() + 0.1 * ig.GradientNorm()
    x = bare.data()[0]
    bare.loop(reference, lambda x, y: criterion(reference, x, y), zip(x.split(8), target.split(8), strict=True))
    found = InputGradientRegressor(
        bare.model, criterion=nn.MSELoss() + 0.1 * ig.GradientNorm(), optimizer=torch.optim.SGD, optimizer__momentum=0.9, lr=0.05, batch_size=8,
        train_split=None, verbose=0, max_epochs=1,
    ).fit(x.numpy(), target.numpy())  # fmt: skip
    assert bare.distance(found.module_, reference) == 0


def test_validation_and_history_have_the_parts() -> None:
    criterion = bare.criterion()
    found = net(criterion, callbacks=part_scores(criterion), train_split=skorch.dataset.ValidSplit(3, stratified=False)).fit(*arrays())
    row = found.history[-1]
    assert {"train_gradient_norm", "valid_gradient_norm", "train_adversarial", "valid_adversarial", "valid_loss"} <= row.keys()
    assert row["valid_loss"] > 0
    held = skorch.dataset.ValidSplit(3, stratified=False)(skorch.dataset.Dataset(*arrays()), arrays()[1])[1].indices
    x, y = bare.data()
    with torch.no_grad():
        whole = criterion.evaluate(found.module_, x[held], y[held])
    assert row["valid_gradient_norm"] == pytest.approx(whole.parts["gradient_norm"].item(), rel=1e-5)
    assert row["valid_loss"] == pytest.approx(whole.loss.item(), rel=1e-5)


def penalised(weight: float = 0.1) -> ig.InputGradientLoss:
    return nn.CrossEntropyLoss() + weight * ig.GradientNorm(of="loss")


def test_clone_and_grid_search_set_the_weight() -> None:
    search = GridSearchCV(net(penalised, max_epochs=20), {"criterion__weight": [0.0, 100.0]}, cv=2, scoring="neg_log_loss").fit(*arrays())
    assert search.best_estimator_.criterion_.terms[0].weight == search.best_params_["criterion__weight"]
    assert search.cv_results_["mean_test_score"][0] != search.cv_results_["mean_test_score"][1]
    assert clone(net(penalised())).fit(*arrays()).history[-1, "batches", -1, "train_gradient_norm"] > 0


def test_inputs_of_several_names() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = bare.model()

        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return self.net(torch.cat((left, right), 1))

    x, y = arrays()
    criterion = nn.CrossEntropyLoss() + 0.1 * ig.GradientNorm(of="loss", wrt=("left", "right"))
    found = InputGradientClassifier(Two, criterion=criterion, train_split=None, verbose=0, max_epochs=1).fit({"left": x[:, :2], "right": x[:, 2:]}, y)
    assert found.history[-1]["train_loss"] > 0


def test_further_arguments_for_the_module_are_refused() -> None:
    with pytest.raises(TypeError, match=r"a criterion calls the module itself.*'mask'.*put them into X"):
        net(bare.criterion()).fit(*arrays(), mask=1)
