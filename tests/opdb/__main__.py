"""``python -m tests.opdb``: the whole study, in some minutes; writes docs/operations.json and the tables of docs/operations.md.

Names of operations or modules run those alone, and print every case.
"""

import argparse
import sys

import torch

from tests.opdb import modules, operations, page, study
from tests.opdb.judging import BAD, Judged


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.opdb", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="operations or modules; without any, all of them")
    names = parser.parse_args().names
    torch.set_num_threads(1)
    of_operations = {name: _told(list(study.of_operation(name)), bool(names)) for name in names or operations.OPERATIONS if name in operations.OPERATIONS}
    of_modules = {name: _told(list(study.of_module(name)), bool(names)) for name in names or modules.MODULES if name in modules.MODULES}
    if unknown := set(names) - of_operations.keys() - of_modules.keys():
        sys.exit(f"neither an operation of the study nor a module: {', '.join(sorted(unknown))}")
    if not names:
        page.write(study.record(of_operations, of_modules))


def _told(cases: list[Judged], everything: bool) -> list[Judged]:
    """Prints what is wrong or raised, and on demand the rest, as it comes."""
    for one in cases:
        for engine, verdict in one.verdicts.items():
            if everything or verdict.outcome in BAD:
                why = verdict.detail or one.no_reference or ""
                print(f"{one.case.name} | {one.case.sample} | {engine} | {verdict.outcome} | {verdict.misfit:.1e} | {why}", flush=True)
    return cases


if __name__ == "__main__":
    main()
