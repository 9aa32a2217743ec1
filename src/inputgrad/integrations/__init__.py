"""Other training libraries: one thin file for each, which imports the core and is imported by none of it. Each works where its package is installed."""


def missing(package: str, extra: str) -> str:
    """What to do where ``package`` is not installed."""
    return f"inputgrad.integrations.{extra} needs the package {package!r}, which is not installed: pip install 'inputgrad[{extra}]'"
