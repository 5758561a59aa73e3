"""docs/events.md names every kind of event that the code has, and no other."""

import re
from pathlib import Path

TOP = Path(__file__).parents[2]
_KIND = r'"([a-z]+\.[a-z]+)"'
_SAID = re.compile(r"kind=.*|REPORTED = .*|\"webhook\.(?!sqlite).*")
_DOCS = re.compile(r"`([a-z]+\.[a-z]+)`")


def test_every_kind_is_documented() -> None:
    sources = (TOP / "backend").rglob("*.py")
    said = (line for path in sources for line in _SAID.findall(path.read_text()))
    used = {kind for line in said for kind in re.findall(_KIND, line)}
    table = (TOP / "docs" / "events.md").read_text().partition("| kind |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {kind for row in rows for kind in _DOCS.findall(row)}
    assert len(used) > 20
    assert used == documented
