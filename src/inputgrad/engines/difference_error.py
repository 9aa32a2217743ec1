"""How far differences are off, on request: the terms' parameter gradient at the step of the engine and at its double.

D(2h) − D(h) = (2^k − 1)·e(h) + …        e(h): the error of order h^k (k = 1, 2, 4); or the rounding of D(h), where that is larger

Must not know terms: the criterion gives the gradient of its terms.
"""

from typing import Any

import torch
from torch import nn

from inputgrad.passes.replay import RandomAndBufferState


def estimated_error(criterion: Any, narrow: Any, wide: Any, order: int, model: nn.Module, inputs: Any, target: Any) -> float:
    """‖D(2h) − D(h)‖ / ‖D(h)‖, over √(2^k − 1), of the parameter gradient of all terms together; 0 where they have none.

    narrow, wide: the engine at its own step h, and at 2h; order: k. The root is half way, on a scale of factors, between an error of order h^k and one of
    rounding. Costs two steps. Leaves no trace: no ``.grad``, no buffer, no draw, and the criterion's step number stays.
    """
    replay = RandomAndBufferState(model, next((parameter.device for parameter in model.parameters()), torch.device("cpu")))
    replay.remember()
    gradients = []
    for engine in (narrow, wide):
        with replay.run():
            gradients.append(criterion.gradient_of_terms(model, inputs, target, engine=engine))
    off = sum(float((b.double() - a.double()).square().sum()) for a, b in zip(*gradients, strict=True))
    size = sum(float(a.double().square().sum()) for a in gradients[0])
    return (off / size) ** 0.5 / (2**order - 1) ** 0.5 if size else 0.0
