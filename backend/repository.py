"""Publishing: one chroot directory becomes, and stays, a dnf repository.

Readers see the old metadata or the new, never half of it: the files with the content's hash in
their names arrive first, then one rename replaces `repomd.xml`. Files of the state before stay
until the next publish, for readers that are in the middle of it.
"""

import contextlib
import gzip
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

from backend import sign
from backend.config import Config
from backend.disk import FILE_MODE, make_directory, sync
from backend.exceptions import InfrastructureError, ToolError
from backend.layout import COMPS, DEVEL, SUCCESS
from backend.locks import exclusive
from backend.process import Result, find, run
from backend.publishset import held

LOCK = ".repo.lock"
_PRIVATE = ".publish-"
_REPODATA = "repodata"
_REPOMD = "repomd.xml"
_ASC = "repomd.xml.asc"
_HREF = re.compile(rb'<location [^>]*href="([^"/]+)/')
_LOCATION = "{http://linux.duke.edu/metadata/repo}location"
#: Understood by 0.17.3 and by 1.x, whose defaults (zstd, sqlite) differ.
_OPTIONS = ("--no-database", "--general-compress-type=gz", "--error-exit-val")
#: 2: complete, but without the RPMs that were unreadable or went away meanwhile.
_USABLE = (0, 2)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What to leave out, where the metadata lives, and the base URL of its packages."""

    without: frozenset[str]
    choose: "Choose | None"
    place: Path
    baseurl: str


#: Gets the result directories that the metadata lists now, returns those that it may list.
Choose = Callable[[frozenset[str]], Collection[str]]


def _nothing() -> None:
    """The check of a publisher that nobody can stop."""


def _silent(_text: str) -> None:
    """The ear of a publisher that nobody listens to."""


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How one publisher behaves towards others.

    `who` is what those hear who wait for him, `say` gets what people should know. While he
    waits himself (at most `patience` seconds), and once more when nobody else can publish,
    `check` is called: what it raises ends it. `timeout` limits createrepo_c, in seconds.
    """

    who: str = ""
    say: Callable[[str], None] = _silent
    check: Callable[[], None] = _nothing
    patience: float = 1800
    timeout: float = 600


class Signer(Protocol):
    """Signs what one project publishes; each call is safe to repeat."""

    def sign_rpms(self, paths: Sequence[Path]) -> int:
        """Sign the packages that are not signed yet, in place; how many those were."""

    def sign_metadata(self, repomd: Path) -> bytes:
        """The detached signature, in ASCII armour."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How one project's repositories are published: what the configuration says of them.

    `keep` states can be gone back to; `signer` is None while signing is off.
    """

    keep: int = 3
    signer: Signer | None = None


def policy(config: Config, repo: Path) -> Policy:
    """The policy for a chroot's directory, `<destdir>/<owner>/<dirname>/<chroot>`."""
    return Policy(keep=config.repository_keep_states, signer=sign.of_repository(config, repo))


def publish(
    repo: Path,
    *,
    mark: Callable[[], None] = _nothing,
    without: Collection[str] = (),
    choose: Choose | None = None,
    devel_url: str = "",
    manners: Manners = Manners(),
    policy: Policy = Policy(),
) -> None:
    """Make the metadata of `repo` list the RPMs of its successful builds, and no others.

    `mark` is called when nobody else can publish any more: there one more build becomes
    successful. `without` names result directories to be left out, because they are about to
    go: they lose their mark of success. With `devel_url`, the URL of `repo`, only the metadata
    in `devel/` changes; its packages stay where they are (`xml:base`). A `comps.xml` in `repo`
    becomes the group file. `choose` narrows the successful builds down to some of them, which
    keep their mark either way.

    Raises InfrastructureError; what was published before is then still in place. An RPM that
    createrepo_c cannot read is left out, and said so.
    """
    wanted = _Wanted(
        without=frozenset(without),
        choose=choose,
        place=repo / DEVEL if devel_url else repo,
        baseurl=devel_url,
    )
    with _alone(repo, wanted, manners):
        manners.check()
        for name in wanted.without:
            (repo / name / SUCCESS).unlink(missing_ok=True)
        mark()
        _renew(repo, wanted, manners, policy)


@contextlib.contextmanager
def _alone(repo: Path, wanted: _Wanted, manners: Manners) -> Iterator[None]:
    """Be the only publisher; errors of the disk and of programs leave as InfrastructureError."""

    def waiting(holder: str) -> None:
        if holder:
            manners.say(f"waiting for {holder}, who publishes {repo}")
        manners.check()

    try:
        make_directory(wanted.place)
        with exclusive(repo / LOCK, who=manners.who, limit=manners.patience, waiting=waiting):
            _sweep(repo)
            yield
    except (OSError, ToolError) as error:
        raise InfrastructureError(f"cannot publish {repo}: {error}") from error


def _renew(repo: Path, wanted: _Wanted, manners: Manners, policy: Policy) -> None:
    private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=repo))
    try:
        if policy.signer:
            policy.signer.sign_rpms([repo / name for name in _packages(repo, wanted.without)])
        new = _generate(repo, wanted, private, manners)
        if policy.signer:
            (new / _ASC).write_bytes(policy.signer.sign_metadata(new / _REPOMD))
        _go_live(new, wanted.place / _REPODATA)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def retract(
    repo: Path,
    name: str,
    devel_url: str = "",
    manners: Manners = Manners(),
    policy: Policy = Policy(),
) -> None:
    """Make sure that the build directory `name` of `repo` is not published, nor will be.

    With `devel_url`, as in `publish`, that is about the metadata in `devel/`. Raises
    InfrastructureError; then it is to be tried again.
    """
    try:
        mark = repo / name / SUCCESS
        marked = mark.exists()
        mark.unlink(missing_ok=True)
        known = marked or name in listed(repo / DEVEL if devel_url else repo)
    except OSError as error:
        raise InfrastructureError(f"cannot publish {repo}: {error}") from error
    if known:
        publish(repo, devel_url=devel_url, manners=manners, policy=policy)


def withdraw(
    repo: Path,
    names: Collection[str],
    *,
    devel_url: str = "",
    manners: Manners = Manners(),
    policy: Policy = Policy(),
) -> None:
    """Make sure that no metadata of `repo` lists RPMs in the directories `names`, nor will.

    Of a project that publishes by hand (`devel_url`, as in `publish`) the other packages in the
    main metadata stay the same. Raises InfrastructureError; then it is to be tried again.
    """
    gone = frozenset(names)
    publish(repo, without=gone, devel_url=devel_url, manners=manners, policy=policy)
    if devel_url and gone & listed(repo):
        publish(repo, choose=lambda now: now - gone, manners=manners, policy=policy)


def listed(place: Path) -> frozenset[str]:
    """The result directories whose RPMs the metadata in `place` lists."""
    live = place / _REPODATA
    for _ in range(100):
        primary = [name for name in _referenced(live / _REPOMD) if "primary.xml" in name]
        if not primary:
            return frozenset()
        try:
            with gzip.open(live / primary[0]) as packed:
                return frozenset(name.decode() for name in _HREF.findall(packed.read()))
        except FileNotFoundError:  # two publishers were faster
            continue
    raise InfrastructureError(f"{place}: its metadata changes all the time, or is incomplete")


def _sweep(repo: Path) -> None:
    """Remove what killed publishers left; the lock says that none of them is alive."""
    for left in repo.glob(f"{_PRIVATE}*"):
        shutil.rmtree(left, ignore_errors=True)


def is_published(repo: Path) -> bool:
    """True when there is a repository, be it empty."""
    return (repo / _REPODATA / _REPOMD).is_file()


def _packages(repo: Path, without: Collection[str]) -> Iterator[str]:
    """RPMs of successful builds, relative to the repository, in a stable order."""
    out = {*without, *held(repo)}
    for directory in sorted(repo.iterdir()):
        if directory.name in out:
            continue
        if directory.name.startswith(".") or not (directory / SUCCESS).is_file():
            continue
        for rpm in sorted(directory.glob("*.rpm")):
            if rpm.is_file() and not rpm.name.startswith("."):
                yield f"{directory.name}/{rpm.name}"


def _generate(repo: Path, wanted: _Wanted, private: Path, manners: Manners) -> Path:
    """Run createrepo_c into a private directory; returns the new `repodata`."""
    packages = list(_packages(repo, wanted.without))
    if wanted.choose:
        chosen = frozenset(wanted.choose(listed(wanted.place)))
        packages = [name for name in packages if name.partition("/")[0] in chosen]
    pkglist = private / "pkglist"
    pkglist.write_text("".join(f"{name}\n" for name in packages))
    root = repo
    if not packages:  # an empty list would mean: search everything
        root = private / "empty"
        root.mkdir()
    reuse = bool(packages) and is_published(wanted.place)
    update = ["--update", f"--update-md-path={wanted.place}"] if reuse else []
    options = _options(repo, wanted)
    new = private / "out" / _REPODATA
    result = _createrepo(root, private, manners.timeout, [*update, *options])
    if reuse and not _usable(result, new):  # the old metadata may be damaged
        result = _createrepo(root, private, manners.timeout, options)
    if not _usable(result, new):
        raise InfrastructureError(f"cannot publish {repo}: createrepo_c: {result.last_line}")
    if result.code:
        words = result.stderr.decode("utf-8", "replace").strip()[-2000:]
        manners.say(f"createrepo_c left packages out of {repo}: {words}")
    return new


def _usable(result: Result, new: Path) -> bool:
    return result.code in _USABLE and bool(_referenced(new / _REPOMD))


def _options(repo: Path, wanted: _Wanted) -> list[str]:
    groups = repo / COMPS
    options = [f"--groupfile={groups}"] if groups.is_file() else []
    return options + ([f"--baseurl={wanted.baseurl}"] if wanted.baseurl else [])


def _createrepo(root: Path, private: Path, timeout: float, options: list[str]) -> Result:
    output = private / "out"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    return run(
        [
            find("createrepo_c"),
            *_OPTIONS,
            *options,
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
    if (new / _ASC).exists():
        _settle(new / _ASC)
        (new / _ASC).replace(live / _ASC)
        after = after | {_ASC}
    (new / _REPOMD).replace(live / _REPOMD)
    sync(live)
    for entry in live.iterdir():
        if entry.name not in before | after | {_REPOMD} and not entry.is_dir():
            with contextlib.suppress(OSError):  # the state is live, and the next one tries again
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
