"""Doctests are collected from every file here. The integrations import a package each, and are left out where theirs is not installed."""

from importlib.util import find_spec

collect_ignore = [f"inputgrad/integrations/{name}.py" for name in ("accelerate", "lightning", "skorch", "transformers") if find_spec(name) is None]
