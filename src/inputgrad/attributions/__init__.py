"""Attributions: how much each input feature contributes to a sample's score, as quantities that a term can train."""

from inputgrad.lazy import lazily

__getattr__, __dir__ = lazily(__name__)
