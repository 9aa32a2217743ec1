"""Whether this process has joined others. Must not know of models, engines or terms."""

import sys


def is_joined() -> bool:
    """Whether ``torch.distributed`` is initialised. Asked at every step: where that module was never loaded, as in a torch without it, nothing is joined."""
    processes = sys.modules.get("torch.distributed.distributed_c10d")
    return processes is not None and processes.is_initialized()
