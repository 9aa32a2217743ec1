"""Terms: what the loss asks of the input gradient. One file = one family; ``__init__.pyi`` lists the public names."""

from inputgrad.lazy import lazily

__getattr__, __dir__ = lazily(__name__)

import inputgrad.loss  # noqa: E402, F401  # it registers what a base loss plus terms is (`terms.base.register_loss`)
