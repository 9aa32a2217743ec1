"""Sphinx: furo, MyST, autodoc, sphinx-gallery, and MathJax from a package, so that no page needs anything from the network."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

import inputgrad
from inputgrad import catalogue

sys.path.insert(0, str(Path(__file__).parent))  # for extensions/

from extensions import catalogue_pages, docstrings, listings, raw_markup, rule_pages, signatures, tutorials

project = "inputgrad"
author = "the inputgrad developers"
project_copyright = "2026, the inputgrad developers"
release = inputgrad.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
sphinx_gallery_conf = tutorials.settings()
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "tutorials", "extensions"]
html_theme = "furo"
pygments_dark_style = "github-dark"  # furo's own underlines modules, as if they were links
toc_object_entries_show_parents = "hide"
html_title = "inputgrad"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # extensions/signatures.py puts the types into the headings
maximum_signature_line_length = 90
python_display_short_literal_types = True
default_role = "code"


def with_every_term(page: str) -> str:
    """The catalogue's page with an entry for each term of the library in place of the line ``.. every-term::``; those of reference.md stand there alone."""
    reference = Path(__file__).with_name("reference.md").read_text(encoding="utf-8")
    names = [entry.name for entry in catalogue.entries() if entry.kind == "term" and f".. autoclass:: inputgrad.{entry.name}\n" not in reference]
    return page.replace(".. every-term::", "\n".join(f".. autoclass:: inputgrad.{name}\n   :no-members:" for name in names))


def expand(_app: Sphinx, docname: str, source: list[str]) -> None:
    if docname == "catalogue":
        source[:] = [with_every_term(page).replace(".. overview::", listings.overview()) for page in source]
    elif docname == "reference":
        source[:] = [page.replace(".. every-name::", listings.every_name(page)) for page in source]
    elif docname == "audit_rules":
        source[:] = [page.replace(".. every-rule::", rule_pages.overview()) for page in source]
    elif docname == "which_loss":
        source[:] = map(listings.linked, source)


def write_pages(app: Sphinx) -> None:
    catalogue_pages.write(Path(app.srcdir) / "catalogue")
    rule_pages.write(Path(app.srcdir) / "audit_rules")


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", expand)
    app.connect("source-read", tutorials.add_note)
    app.connect("autodoc-process-signature", signatures.with_types)
    app.connect("autodoc-process-docstring", docstrings.as_restructured_text)
    app.connect("build-finished", raw_markup.report)
