"""What a figure depends on besides the code: versions, threads, the processor. No names of hosts, users or folders."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path

import torch

import inputgrad


def environment() -> dict[str, str | int]:
    """The environment of this process, for JSON."""
    return {
        "inputgrad": inputgrad.__version__,
        "torch": torch.__version__,
        "jax": _version("jax"),
        "python": platform.python_version(),
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
