"""skorch, scikit-learn's style: nets whose criterion is an `InputGradientLoss`.

    def penalised(weight=0.1):
        return nn.CrossEntropyLoss() + weight * ig.GradientNorm(of="loss")

    net = InputGradientClassifier(Module, criterion=penalised, lr=0.1)
    GridSearchCV(net, {"criterion__weight": [0, 0.1, 1]}).fit(X, y)

criterion is the object, or a function that builds it, whose arguments then are settings of the net. (skorch lets no object be set later on.)
"""

from types import SimpleNamespace
from typing import Any

from inputgrad.integrations import missing
from inputgrad.loss import InputGradientLoss

try:
    import torch
    from skorch import NeuralNet, NeuralNetClassifier, NeuralNetRegressor
    from skorch.callbacks import PassthroughScoring
    from skorch.dataset import unpack_data
    from skorch.utils import _infer_predict_nonlinearity, to_tensor
except ImportError as error:
    raise ImportError(missing("skorch", "skorch")) from error


class InputGradientStep(NeuralNet):
    """What a net of skorch needs for such a criterion: its training step and its validation step, which hand the criterion the module and the inputs.

    The parts are in the history beside the losses, as ``train_gradient_norm``, ``valid_gradient_norm``, …; with `PassthroughScoring` they are averaged
    over the epochs and printed.
    """

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """One step of training, as skorch's own."""
        return self._evaluated(batch, fit_params, training=True)

    def validation_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """One step of validation, as skorch's own."""
        with torch.no_grad():
            return self._evaluated(batch, fit_params, training=False)

    def _evaluated(self, batch: Any, fit_params: dict[str, Any], *, training: bool) -> dict[str, Any]:
        if fit_params:
            raise TypeError(f"a criterion calls the module itself, so fit takes no further arguments for it; got {sorted(fit_params)}: put them into X, a dict")
        self._set_training(training)
        inputs, target = (to_tensor(part, device=self.device) for part in unpack_data(batch))
        step = self.criterion_.evaluate(self.module_, inputs, target)
        if training:
            step.loss.backward()
        for name, value in step.parts.items():
            self.history.record_batch(f"{'train' if training else 'valid'}_{name}", value.item())
        return {"loss": step.loss, "y_pred": step.output}

    def _get_predict_nonlinearity(self) -> Any:
        if self.predict_nonlinearity != "auto" or not isinstance(self.criterion_, InputGradientLoss):
            return super()._get_predict_nonlinearity()
        base_alone = SimpleNamespace(
            _criteria=["criterion"], criterion_=self.criterion_.base
        )  # skorch tells it from the type of the loss: the base loss is meant
        return _infer_predict_nonlinearity(base_alone)


class InputGradientClassifier(InputGradientStep, NeuralNetClassifier):
    """`skorch.NeuralNetClassifier` with ``criterion=`` an `InputGradientLoss`, such as ``nn.CrossEntropyLoss() + 0.1 * term``."""


class InputGradientRegressor(InputGradientStep, NeuralNetRegressor):
    """`skorch.NeuralNetRegressor` with ``criterion=`` an `InputGradientLoss`, such as ``nn.MSELoss() + 0.1 * term``."""


def part_scores(criterion: InputGradientLoss) -> list[tuple[str, PassthroughScoring]]:
    """skorch's callbacks that average the parts over each epoch and print them: ``callbacks=part_scores(criterion)``."""
    from inputgrad.step.active_terms import part_names

    parts = part_names(criterion.terms)
    return [(f"{stage}_{name}", PassthroughScoring(f"{stage}_{name}", on_train=stage == "train")) for stage in ("train", "valid") for name in parts]
