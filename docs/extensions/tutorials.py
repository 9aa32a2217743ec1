"""The tutorials: scripts in docs/tutorials, run by sphinx-gallery in this order when the pages are built. Their pictures suit light and dark pages."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

ORDER = (
    "gradient_penalty",
    "lazy_r1",
    "forces",
    "pinn",
    "greeks",
    "robustness",
    "right_reasons",
    "text_embeddings",
    "semi_supervised",
    "multi_task",
    "imitation",
    "own_term",
    "from_paper_to_recipe",
)

NEEDS = {"text_embeddings": "transformers"}
"""Tutorials that need a package which `pip install '.[docs]'` does not bring. Without it they are left out, and the gallery says so."""

GREY = "#7d7d7d"
"""Text and axes: readable on white and on black."""

LEFT_OUT = [name for name, package in NEEDS.items() if find_spec(package) is None]


def position(name: str) -> int:
    """The key by which the gallery is sorted."""
    return ORDER.index(Path(name).stem)


def prepared(_configuration: dict[str, Any], _script: str | None) -> None:
    """Before each script: one thread, so that numbers do not depend on the number of cores, and pictures without a background."""
    import matplotlib as mpl

    torch.set_num_threads(1)
    mpl.rcParams.update(
        {
            "figure.facecolor": "none",
            "figure.dpi": 110,
            "savefig.facecolor": "none",
            "savefig.edgecolor": "none",
            "axes.facecolor": "none",
            "legend.framealpha": 0,
            "legend.edgecolor": "none",
            **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"), GREY),
        }
    )


def note() -> str:
    """A paragraph of the gallery's page about what was left out; nothing where all is there."""
    return "".join(f"\n\nLeft out here: *{name}*, which needs ``pip install {NEEDS[name]}`` before the pages are built.\n" for name in LEFT_OUT)


def add_note(_app: Any, docname: str, source: list[str]) -> None:
    if docname == "gallery/index":
        source[0] += note()


def own_pictures(_block: Any, variables: dict[str, Any], configuration: dict[str, Any]) -> str:
    """For sphinx-gallery: the figures of `inputgrad.pictures`, which pyplot does not know; each at the block that made it."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    made = []
    for value in list(variables["example_globals"].values()):
        if isinstance(value, Figure) and not hasattr(value, "number") and not hasattr(value, "in_gallery"):
            value.in_gallery = True
            made.append(next(variables["image_path_iterator"]))
            value.savefig(made[-1])
    return figure_rst(made, configuration["src_dir"]) if made else ""


def settings() -> dict[str, Any]:
    """The settings of sphinx-gallery: run everything, ask nothing of the network, and fail where a script fails."""
    left_out = "|".join(LEFT_OUT)
    return {
        "examples_dirs": ["tutorials"],
        "gallery_dirs": ["gallery"],
        "filename_pattern": r"\.py$",
        "ignore_pattern": rf"(?:{left_out})\.py$" if left_out else r"__init__\.py$",
        "within_subsection_order": "extensions.tutorials.position",
        "reset_modules": ("matplotlib", "extensions.tutorials.prepared"),
        "image_scrapers": ("matplotlib", "extensions.tutorials.own_pictures"),
        "capture_repr": (),  # what a script prints, not the last value of a block
        "backreferences_dir": None,
        "download_all_examples": False,
        "show_memory": False,
        "show_signature": False,
        "write_computation_times": False,
        "min_reported_time": 10_000,  # a time on this machine says little
        "abort_on_example_error": False,  # reports every broken tutorial; each fails the build
        "matplotlib_animations": False,
        "plot_gallery": "True",
        "remove_config_comments": True,
        "thumbnail_size": (400, 240),
    }
