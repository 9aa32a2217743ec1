"""The audit: what a training script does wrong with input gradients, with file and line. Watches a run; changes nothing of it."""

from inputgrad.audit.facts import Facts
from inputgrad.audit.findings import Finding
from inputgrad.audit.session import audit

__all__ = ["Facts", "Finding", "audit"]
