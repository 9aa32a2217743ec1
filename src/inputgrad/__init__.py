"""Losses that depend on the network's input gradient.

``__init__.pyi`` beside this file lists the public names. Each is imported when first used, so that `inputgrad --help` needs no torch.
"""

from inputgrad.lazy import lazily

__version__ = "0.1.0"

__getattr__, __dir__ = lazily(__name__)
