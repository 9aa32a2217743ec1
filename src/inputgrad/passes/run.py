"""What one run of a model gave. Must not know how it was run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inputgrad.variables import Key


@dataclass(frozen=True)
class Run:
    """One run: the output ``[N, ...]`` with its graph, the variables in that graph, and what the model returned, whole."""

    output: Tensor
    variables: Mapping[Key, Tensor]
    returned: Any = None
