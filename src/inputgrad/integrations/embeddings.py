"""Which embedding a language model really calls. Needs no package but torch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from inputgrad.torch_internals import messages


def called_embedding(model: nn.Module, embeddings: nn.Module, example: Mapping[str, Any] | None) -> str:
    """The name of ``embeddings`` in the model, or of the module with the same weight that a pass on the example calls first.

    Bart's ``get_input_embeddings`` gives ``shared``, whose weight the encoder's own embedding holds too, and which is never called.
    """
    weight = getattr(embeddings, "weight", None)
    alike = {name: module for name, module in model.named_modules() if module is embeddings or getattr(module, "weight", embeddings) is weight}
    names = [name for name, module in alike.items() if isinstance(module, nn.Embedding) or module is embeddings]
    if len(names) > 1 and example is not None:
        called = _called(model, {name: alike[name] for name in names}, example)
        names = called or names
    return names[0]


def _called(model: nn.Module, modules: Mapping[str, nn.Module], example: Mapping[str, Any]) -> list[str]:
    """The modules that a pass calls, in order; none where the pass fails."""
    order: list[str] = []
    handles = [module.register_forward_hook(lambda *_, name=name: order.append(name)) for name, module in modules.items()]
    training = model.training
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(**{name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in example.items()})
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if messages.is_machine_error(error):
            raise
        return []
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return order
