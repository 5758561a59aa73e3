"""Publishing: one chroot directory becomes, and stays, a dnf repository.

Readers see the old metadata or the new, never half of it: the files with the content's hash in
their names arrive first, then one rename replaces `repomd.xml`. Files of the state before stay
until the next publish, for readers that are in the middle of it.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from backend.exceptions import InfrastructureError, ToolError
from backend.layout import SUCCESS
from backend.locks import exclusive
from backend.process import Result, find, run
from backend.results import FILE_MODE, make_directory, sync

LOCK = ".repo.lock"
_PRIVATE = ".publish-"
_REPODATA = "repodata"
_REPOMD = "repomd.xml"
_LOCATION = "{http://linux.duke.edu/metadata/repo}location"
#: Understood by 0.17.3 and by 1.x, whose defaults (zstd, sqlite) differ.
_OPTIONS = ("--no-database", "--general-compress-type=gz", "--error-exit-val")
#: 2: complete, but without the RPMs that were unreadable or went away meanwhile.
_USABLE = (0, 2)


def publish(repo: Path, *, timeout: float = 600) -> None:
    """Make the metadata of `repo` list the RPMs of its successful builds, and no others.

    Waits for another publisher of the same repository. Raises InfrastructureError; what was
    published before is then still in place. An RPM that createrepo_c cannot read is left out.
    """
    try:
        make_directory(repo)
        with exclusive(repo / LOCK):
            _sweep(repo)
            private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=repo))
            try:
                _go_live(_generate(repo, private, timeout), repo / _REPODATA)
            finally:
                shutil.rmtree(private, ignore_errors=True)
    except (OSError, ToolError) as error:
        raise InfrastructureError(f"cannot publish {repo}: {error}") from error


def _sweep(repo: Path) -> None:
    """Remove what killed publishers left; the lock says that none of them is alive."""
    for left in repo.glob(f"{_PRIVATE}*"):
        shutil.rmtree(left, ignore_errors=True)


def _packages(repo: Path) -> Iterator[str]:
    """RPMs of successful builds, relative to the repository, in a stable order."""
    for directory in sorted(repo.iterdir()):
        if directory.name.startswith(".") or not (directory / SUCCESS).is_file():
            continue
        for rpm in sorted(directory.glob("*.rpm")):
            if rpm.is_file() and not rpm.name.startswith("."):
                yield f"{directory.name}/{rpm.name}"


def _generate(repo: Path, private: Path, timeout: float) -> Path:
    """Run createrepo_c into a private directory; returns the new `repodata`."""
    packages = list(_packages(repo))
    pkglist = private / "pkglist"
    pkglist.write_text("".join(f"{name}\n" for name in packages))
    root = repo
    if not packages:  # an empty list would mean: search everything
        root = private / "empty"
        root.mkdir()
    reuse = bool(packages) and (repo / _REPODATA / _REPOMD).exists()
    new = private / "out" / _REPODATA
    result = _createrepo(repo, root, private, timeout, reuse=reuse)
    if reuse and not _usable(result, new):  # the old metadata may be damaged
        result = _createrepo(repo, root, private, timeout, reuse=False)
    if not _usable(result, new):
        raise InfrastructureError(f"cannot publish {repo}: createrepo_c: {result.last_line}")
    return new


def _usable(result: Result, new: Path) -> bool:
    return result.code in _USABLE and bool(_referenced(new / _REPOMD))


def _createrepo(repo: Path, root: Path, private: Path, timeout: float, *, reuse: bool) -> Result:
    output = private / "out"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    update = ["--update", f"--update-md-path={repo}"] if reuse else []
    return run(
        [
            find("createrepo_c"),
            *_OPTIONS,
            *update,
            f"--pkglist={private / 'pkglist'}",
            f"--outputdir={output}",
            str(root),
        ],
        timeout=timeout,
    )


def _go_live(new: Path, live: Path) -> None:
    """Replace the state in `live` by the one in `new`, at one instant."""
    make_directory(live)
    before = _referenced(live / _REPOMD)
    after = _referenced(new / _REPOMD)
    for name in sorted(after):
        _settle(new / name)
        (new / name).replace(live / name)
    _settle(new / _REPOMD)
    sync(live)
    (new / _REPOMD).replace(live / _REPOMD)
    sync(live)
    for entry in live.iterdir():
        if entry.name not in before | after | {_REPOMD} and not entry.is_dir():
            entry.unlink()


def _settle(path: Path) -> None:
    path.chmod(FILE_MODE)
    sync(path)


def _referenced(repomd: Path) -> set[str]:
    """Names of the files in `repodata/` that a repomd.xml refers to; none if it is unreadable."""
    try:
        root = ElementTree.fromstring(repomd.read_bytes())  # noqa: S314 - createrepo_c wrote it
    except (FileNotFoundError, ElementTree.ParseError):
        return set()
    return {Path(node.get("href", "")).name for node in root.iter(_LOCATION)} - {""}
