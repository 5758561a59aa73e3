"""Metadata as databases besides, for readers of another time (yum): made by sqliterepo_c, of all
packages each time."""

from pathlib import Path

from backend.disk import FILE_MODE
from backend.exceptions import InfrastructureError
from backend.process import find, run
from backend.repo import repomd, states
from backend.repo.chunks import KINDS
from backend.repo.repomd import Extra
from backend.repo.writer import Written

_TYPES = tuple(f"{kind}_db" for kind in KINDS)


def make(written: list[Written], work: Path, *, now: int, timeout: float) -> list[Extra]:
    """The databases of these three files. Raises InfrastructureError, ToolError."""
    repodata = work / "sqlite" / "repodata"
    repodata.mkdir(parents=True)
    for file in written:
        states.link(file.path, repodata / file.path.name)
    (repodata / repomd.NAME).write_bytes(repomd.render(written, [], now))
    argv = [find("sqliterepo_c"), "--force", "--local-sqlite", "--compress-type=gz"]
    result = run([*argv, "--checksum=sha256", str(repodata.parent)], timeout=timeout)
    made = [each for each in repomd.records(repodata) if each.type in _TYPES]
    if result.code or len(made) != len(_TYPES):
        raise InfrastructureError(f"sqliterepo_c: {result.last_line}")
    for each in made:
        each.path.chmod(FILE_MODE)
    return made
