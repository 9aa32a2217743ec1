"""The compiled engine where the compiler is not what is tested: the same joint graph, run without it, in a tenth of the time.

``make study`` runs these tests with a compiler (``COMPILED_BACKEND``): those of tests/core with the one that users get; ``make test`` has it in tests/joint.
"""

import os

from inputgrad.engines import Compiled, Engine

BACKEND = os.environ.get("COMPILED_BACKEND", "eager")


def traced(engine: str | Engine) -> str | Engine:
    """The engine that a name stands for; "compiled" without its compiler."""
    return Compiled(backend=BACKEND) if engine == "compiled" else engine
