"""Make the pictures of the pages again, each by its example: python docs/pictures.py"""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]

CATALOGUE = ("burgers", "decoy_digits", "differential_learning", "eikonal", "forces", "gan", "monotone", "robustness", "text_smoothness")
"""Minutes each; their data need `pip install '.[examples]'`, and one says what else."""

if __name__ == "__main__":
    for name in ("gradient_norm", "direction_match", "adversarial", "critic_penalty", *CATALOGUE):
        print(f"-- {name}")
        suffix = "svg" if name == "differential_learning" else "png"
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](ROOT / "docs" / "_static" / f"{name}.{suffix}")
