"""What a repomd.xml lists, in the layout of any createrepo_c."""

from pathlib import Path

import pytest

from backend.repo import repomd

RECORD = b"""  <data type="comps">
    <checksum type="sha256">00</checksum>
    <location href="repodata/00-comps.xml"/>
  </data>
"""


@pytest.mark.parametrize("newline", [b"\n", b""], ids=["indented", "one line"])
def test_what_others_added_is_found(tmp_path: Path, newline: bytes) -> None:
    (tmp_path / "00-comps.xml").touch()
    record = RECORD if newline else b"".join(line.strip() for line in RECORD.splitlines())
    (tmp_path / repomd.NAME).write_bytes(b'<repomd xmlns="x">%s%s</repomd>' % (newline, record))
    (extra,) = repomd.records(tmp_path)
    assert (extra.type, extra.path) == ("comps", tmp_path / "00-comps.xml")
    assert extra.record == b"  %s\n" % record.strip()
