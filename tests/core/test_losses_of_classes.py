"""Each label's own cross-entropy by one call: what torch's module gives without its reduction, and nothing for any other loss or target."""

from typing import Any

import pytest
import torch
from torch import nn

from inputgrad.base_losses.of_classes import losses_of_classes


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1, "weight": torch.rand(3)}, {"ignore_index": 1, "reduction": "sum"}])
def test_each_labels_loss_is_that_of_the_module_without_its_reduction(settings: dict[str, Any]) -> None:
    output, target = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    found = losses_of_classes(nn.CrossEntropyLoss(**settings), output, target)
    assert found is not None
    assert torch.equal(found, nn.CrossEntropyLoss(**{**settings, "reduction": "none"})(output, target))


def test_other_losses_of_classes_are_left_to_their_modules() -> None:
    class Own(nn.CrossEntropyLoss):
        pass

    hooked, output, labels = nn.CrossEntropyLoss(), torch.randn(5, 3), torch.zeros(5, dtype=torch.int64)
    hooked.register_forward_hook(lambda *_: None)
    for loss in (Own(), hooked, nn.NLLLoss(), nn.functional.cross_entropy):
        assert losses_of_classes(loss, output, labels) is None
    for target in (labels[:4], labels.float(), output.softmax(1), None, labels.to(torch.int32)):
        assert losses_of_classes(nn.CrossEntropyLoss(), output, target) is None
