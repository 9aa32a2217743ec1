"""Terms: what the loss asks of the input gradient. One file = one family; ``__init__.pyi`` lists the public names."""

from inputgrad.lazy import lazily

__getattr__, __dir__ = lazily(__name__)
