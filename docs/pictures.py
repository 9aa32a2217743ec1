"""Make the pictures of the pages again, each by its example: python docs/pictures.py"""

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    for name in ("gradient_norm", "direction_match", "adversarial", "critic_penalty"):
        print(f"-- {name}")
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"](ROOT / "docs" / "_static" / f"{name}.png")
