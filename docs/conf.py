"""How Sphinx builds the site from the pages of this folder: ``make site``."""

from streamcam.version import __version__

project = "streamcam"
author = "The streamcam authors"
copyright = "The streamcam authors; MIT licence"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["site"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
default_role = "code"
suppress_warnings = ["myst.header"]  # Pages of figures have small headings only.

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_mock_imports: list[str] = []
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "streamcam"
html_theme_options = {"source_repository": "https://github.com/streamcam/streamcam"}
