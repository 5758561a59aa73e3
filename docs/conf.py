"""Settings of Sphinx: `make docs` makes the site of these pages in build/docs, without network."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import reference  # noqa: E402

from backend import __version__  # noqa: E402

project = "copr-backend"
author = "the copr-backend maintainers"
release = version = __version__
extensions = ["myst_parser"]
exclude_patterns = ["conf.py", "reference.py"]
myst_heading_anchors = 3
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"copr-backend {__version__}"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False


def _fill(_app: Sphinx, name: str, source: list[str]) -> None:
    """Put into a page of the reference what is made from the code."""
    source[0] = reference.fill(name, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _fill)
