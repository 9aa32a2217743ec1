"""``make zoo``: every eager engine on real architectures, in an environment of its own under build/zoo (see tests/architectures)."""

import sys

from tools.environments import BUILD, ROOT, Environment, pins

PINNED = ("numpy", "scipy", "torch", "transformers")
TORCHVISION = "torchvision==0.28.0"
"""The release that belongs to the torch of constraints.txt; timm imports it."""
PACKAGES = ("timm", "torch_geometric", "torchdiffeq", "mace-torch")
"""Beside the pinned ones; mace-torch brings the e3nn that it needs."""


def main() -> None:
    made = Environment(BUILD / "zoo", pins(*PINNED))
    made.install(*PINNED, TORCHVISION, *PACKAGES)
    made.install("--no-deps", "--editable", ".")
    done = made.run("python", "-W", "ignore", "-m", "tests.architectures", *sys.argv[1:], cwd=ROOT, check=False, OMP_NUM_THREADS="1")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
