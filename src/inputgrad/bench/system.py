"""What a bug report says about where it happened: versions, platform, devices, threads. No names of hosts, users or folders.

Needs no other package, and works where torch cannot be imported: then the report says so.
"""

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping
from typing import Any

_EXTRA = re.compile(r"([A-Za-z0-9._-]+).*;.*extra == ['\"](\w+)['\"]")
_FOR_DEVELOPERS = {"dev", "docs"}


def environment() -> dict[str, Any]:
    """The environment of this process, for JSON. A package that is not installed is None."""
    import inputgrad

    return {
        "inputgrad": inputgrad.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        **_torch(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {package: _version(package) for package in optional_packages()},
    }


def as_text(facts: Mapping[str, Any]) -> str:
    """The same as plain text, one fact per line."""
    packages = facts["packages"]
    lines = {name: ", ".join(value) if isinstance(value, list) else value for name, value in facts.items() if name != "packages"}
    lines["installed"] = ", ".join(f"{name} {version}" for name, version in packages.items() if version) or "none of the optional packages"
    lines["not installed"] = ", ".join(name for name, version in packages.items() if not version)
    return "".join(f"{name:<14} {value}\n" for name, value in lines.items() if value not in (None, ""))


def optional_packages() -> list[str]:
    """The packages that the extras for users name, and numpy."""
    try:
        requirements = importlib.metadata.requires("inputgrad") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    pairs = [match.groups() for match in map(_EXTRA.match, requirements) if match]
    return sorted({package for package, extra in pairs if extra not in _FOR_DEVELOPERS} - {"inputgrad"} | {"numpy"}, key=str.lower)


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: one of torch's libraries cannot be loaded
        return {"torch": f"cannot be imported: {type(error).__name__}: {error}".splitlines()[0]}
    devices = ["cpu"]
    for kind in ("cuda", "xpu"):
        home = getattr(torch, kind)
        devices += [f"{kind}:{index} {home.get_device_name(index)}" for index in range(home.device_count() if home.is_available() else 0)]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "torch": torch.__version__,
        "built for": f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip else "CPU",
        "devices": devices,
        "threads": f"{torch.get_num_threads()} in an operation, {torch.get_num_interop_threads()} between operations",
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
