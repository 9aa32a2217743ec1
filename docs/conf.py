"""Sphinx: furo, MyST, autodoc. Formulas are plain text, so no page needs anything from the network."""

import inputgrad

project = "inputgrad"
author = "the inputgrad developers"
project_copyright = "2026, the inputgrad developers"
release = inputgrad.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "inputgrad"
html_static_path = ["_static"]
html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature in the heading is enough; types stand in the source
autodoc_default_options = {"members": True, "show-inheritance": False}
default_role = "code"
