"""The site of `make docs`: built without a warning, with each page in the navigation."""

import re
import subprocess
import sys
from pathlib import Path

from backend.options import OPTIONS
from tests.docs.blocks import PAGES, TOP

PARTS = ("Start", "Operate", "Scale out", "Security", "Migrate from Copr", "Architecture")


def test_the_site_is_built_and_complete(tmp_path: Path) -> None:
    """As the Makefile has it: a warning (a page nobody links, a dead link) is an error."""
    (recipe,) = re.findall(
        r"^\t@\$\(bin\)/(sphinx-build .*)$", (TOP / "Makefile").read_text(), re.M
    )
    words = recipe.replace("build/", f"{tmp_path}/").split()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *words[1:]], cwd=TOP, check=False, capture_output=True,
        text=True, timeout=200,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    all_pages_are_in_the_navigation(tmp_path / "docs")
    the_reference_is_filled(tmp_path / "docs")
    nothing_is_fetched_from_elsewhere(tmp_path / "docs")


def all_pages_are_in_the_navigation(site: Path) -> None:
    start = (site / "index.html").read_text()
    for page in PAGES:
        if page.parent != TOP:
            assert (site / f"{page.stem}.html").exists()
            assert page.stem == "index" or f'href="{page.stem}.html"' in start
    captions = re.findall(r'class="caption-text">([^<]+)<', start)
    assert tuple(captions) == (*PARTS, "Reference")


def the_reference_is_filled(site: Path) -> None:
    options = (site / "options.html").read_text()
    assert all(option.name in options for option in OPTIONS)
    assert "--keep-projects" in (site / "commands.html").read_text()


def nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img)[^>]+src="(?:https?:)?//', text), page
        assert not re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="(?:https?:)?//', text), page
