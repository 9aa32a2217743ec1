"""``python -m benchmarks.floors``: the arithmetic floor of an exact step of each workload, as a ratio to the plain step.

Only matrix products, convolutions and attention are counted, in floating-point operations, by torch's own formulas (those of `FlopCounterMode`). The floor is
the fewest that a step with the term was found to need, of the hand-written step that differentiates nothing without need and of the library's own; divided
by those of the plain step. Of the MLP the large layers make 11 products in place of 5. What is elementwise costs time on top, in the plain step too.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.ways import Case
from benchmarks.workloads import SCALING, WORKLOADS, Workload
from inputgrad.bench.ways import engine_way

FLOORS = Path(__file__).parent / "floors.json"


class Products(TorchDispatchMode):
    """Counts the floating-point operations of products, below autograd."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        results = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.count += int(formula(*args, **(kwargs or {}), out_val=results))
        return results


def counted(step: Callable[[], Any]) -> int:
    """The floating-point operations of the products of one step, the first of which has been made."""
    step()
    with Products() as products:
        step()
    return products.count


def floor(workload: Workload) -> float:
    """The fewest products of an exact step, to those of the plain step. Attention is counted as written out: the fused kernel has no formula."""
    case = Case.of(workload)
    with sdpa_kernel(SDPBackend.MATH):
        engine = engine_way(workload.criterion("auto"), "double_backward", case.model, case.inputs, case.target)
        return min(counted(step) for step in (case.handwritten(lean=True, math=False).step, engine.step)) / counted(case.plain)


def known() -> dict[str, float]:
    """The floors that were counted."""
    found: dict[str, float] = json.loads(FLOORS.read_text()) if FLOORS.exists() else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the products of an exact step of each workload, to those of the plain step.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"which ones (default: all): {', '.join([*WORKLOADS, *SCALING])}")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = known()
    for name in arguments.workloads or [*WORKLOADS, *SCALING]:
        found[name] = round(floor((WORKLOADS | SCALING)[name]), 3)
        print(f"{name:18s}{found[name]:.2f}", flush=True)
        order = [*WORKLOADS, *SCALING]
        FLOORS.write_text(json.dumps(dict(sorted(found.items(), key=lambda item: order.index(item[0]))), indent=1) + "\n")


if __name__ == "__main__":
    main()
