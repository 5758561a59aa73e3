"""RPM tasks of a real Copr frontend: a commit in dist-git becomes a source package.

The repository is cloned and its spec file parsed in the sandbox; files that `sources` names
come from the lookaside cache and are used only if their checksum is right.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from backend.builders import script
from backend.builders.script import Room, Script
from backend.checkout import Checkout
from backend.exceptions import BuildError, FrontendError, ToolError, Unreachable
from backend.job import RpmTask
from backend.sources import download

MAX_SOURCES = 1000
#: Exit codes of the script below.
_NO_COMMIT, _NO_TOOL = 82, 85
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^@%=,:-]*")
_NEW = re.compile(r"(MD5|SHA1|SHA224|SHA256|SHA384|SHA512) \((.*)\) = ([0-9a-fA-F]+)")
_OLD = re.compile(r"([0-9a-fA-F]+)\s+\*?(\S+)")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HEX_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}

#: Where known dist-git hosts (by a part of the clone URL) keep their files.
_COPR = "repo/pkgs/{path}/{filename}/{hashtype}/{hash}/{filename}"
_FEDORA = f"https://src.fedoraproject.org/{_COPR}"
_CENTOS = (
    "https://sources.stream.centos.org/sources/rpms/{name}/{filename}/{hashtype}/{hash}/{filename}"
)
_KNOWN = {
    "//src.fedoraproject.org/": _FEDORA,
    "//pkgs.fedoraproject.org/": _FEDORA,
    "//gitlab.com/redhat/centos-stream/rpms/": _CENTOS,
}

#: $1: URL, $2: commit, branch or tag; $3: hand the file `sources` out, or nothing.
CLONE = r"""
command -v git >/dev/null || { echo "error: git is not installed"; exit 85; }
export GIT_TERMINAL_PROMPT=0 GIT_ALLOW_PROTOCOL=http:https:git
git clone --quiet --no-checkout -- "$1" src || exit 81
cd src && git checkout --quiet --detach "$2" -- || exit 82
git rev-parse HEAD >/builddir/results/commit || exit 82
echo "Checked out $(git log -1 --format='%H %s' | head -c 200)"
if [ "$3" ] && [ -f sources ] && ! [ -L sources ]; then cp sources /builddir/results/sources; fi
"""

#: $1: directory of the spec file below src, $2: its name, or the package's, or empty.
SRPM = r"""
cd "src/$1" || exit 83
for file in /in/*; do
  [ -e "$file" ] && cp --remove-destination -- "$file" .
done
spec=$2
[ "$spec" ] && ! [ -f "$spec" ] && [ -f "$spec.spec" ] && spec=$spec.spec
if ! [ -f "$spec" ]; then
  set -- *.spec
  [ $# = 1 ] && [ -f "$1" ] || {
    echo "error: exactly one spec file is needed, here is: $*"
    exit 84
  }
  spec=$1
fi
rpmbuild -bs --nodeps --define "_topdir /builddir/rpmbuild" --define "_sourcedir $PWD" \
  --define "_srcrpmdir /builddir/results" -- "$spec"
"""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One line of a `sources` file."""

    name: str
    hashtype: str
    digest: str


def parse_sources(text: str) -> tuple[SourceFile, ...]:
    """Read a `sources` file: `SHA512 (name) = digest`, or the old `digest  name` (MD5).

    Raises BuildError that quotes the first line which is neither, or whose name is no plain
    file name.
    """
    found = []
    for line in text.splitlines():
        if not line.strip():
            continue
        match = _NEW.fullmatch(line.strip())
        old = _OLD.fullmatch(line.strip())
        if match:
            kind, name, digest = match.group(1).lower(), match.group(2), match.group(3)
        elif old:
            digest, name = old.groups()
            kind = "sha1" if len(digest) == _HEX_DIGITS["sha1"] else "md5"
        else:
            raise BuildError(f"the file `sources` has a line that is none: {line[:200]!a}")
        if not _SAFE.fullmatch(name) or len(name) > 200:
            raise BuildError(f"the file `sources` names {name[:200]!a}: refused as a file name")
        if len(digest) != _HEX_DIGITS[kind]:
            raise BuildError(f"the file `sources` has a bad {kind} checksum for {name}")
        found.append(SourceFile(name=name, hashtype=kind, digest=digest.lower()))
    if len(found) > MAX_SOURCES:
        raise BuildError(f"the file `sources` names {len(found)} files: more than {MAX_SOURCES}")
    return tuple(found)


def lookaside_url(pattern: str, clone_url: str, file: SourceFile) -> str:
    """Where the file is, by a pattern with `{path}` (that of the clone URL, after `git/`),
    `{name}` (its last part), `{filename}`, `{hashtype}`, `{hash}`. An empty pattern means: as
    the host has it, which is known for Fedora's and CentOS's and else that of copr-dist-git.
    """
    parts = urlsplit(clone_url)
    path = re.sub(r"^(?:.*?/)?c?git/", "", parts.path.strip("/").removesuffix(".git"))
    pattern = pattern or _KNOWN.get(
        parts.hostname or "", f"{parts.scheme}://{parts.netloc}/{_COPR}"
    )
    return pattern.format(
        path=path,
        name=path.rpartition("/")[2],
        filename=quote(file.name),
        hashtype=file.hashtype,
        hash=file.digest,
    )


def check_clone_url(url: object, schemes: Sequence[str] = ("http", "https", "git")) -> str:
    """The URL, if it has one of the schemes and cannot be taken for an option."""
    if not isinstance(url, str) or urlsplit(url).scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise BuildError(f"{str(url)[:200]!r} is no address that begins with one of {known}")
    if not url.isprintable() or " " in url:
        raise BuildError(f"{url[:200]!a} is no usable address")
    return url


def source_package(task: RpmTask, room: Room) -> Path:
    """The source package of the task's commit.

    Raises BuildError when commit, files or spec are unusable, Unreachable when dist-git is
    away: that is worth another try.
    """
    url = check_clone_url(task.git_repo)
    if not _COMMIT.fullmatch(task.git_hash or ""):
        raise BuildError(f"{str(task.git_hash)[:80]!r} is no commit: import the package again")
    clone(room, url, str(task.git_hash), listed=True)
    fetch_sources(room, url)
    return make_srpm(room, "", task.package)


def clone(room: Room, url: str, commit: str, *, listed: bool = False) -> Checkout:
    """Clone into `src` and check the commit (or branch, or tag) out; `listed` if `fetch_sources`
    comes next."""
    args = (url, commit, "sources" if listed else "")
    outcome = script.run(room, Script(what=f"git clone {url}", text=CLONE, args=args, net=True))
    if outcome.code == _NO_TOOL:
        raise ToolError("git is not installed: apt-get install git or dnf install git")
    if outcome.code == _NO_COMMIT:
        raise BuildError(f"{url} has no commit, branch or tag {commit}")
    if outcome.code:
        raise Unreachable(f"cannot clone {url}: {outcome.line}")
    return Checkout.of("git", url, commit, script.note(room, "commit"))


def fetch_sources(room: Room, clone_url: str) -> None:
    """Download what the file `sources` names, and check it."""
    text = script.note(room, "sources")
    limit = room.config.builder_max_download
    for file in parse_sources((text or b"").decode("utf-8", "replace")):
        url = lookaside_url(room.config.distgit_lookaside, clone_url, file)
        room.monitor.output(f"Fetching {url}\n".encode())
        target = room.inputs() / file.name
        try:
            download(url, target, limit, room.check)
        except FrontendError as error:
            raise Unreachable(str(error)) from error
        limit -= target.stat().st_size
        _check_digest(target, file)
        target.chmod(0o644)


def _check_digest(path: Path, file: SourceFile) -> None:
    with path.open("rb") as content:
        digest = hashlib.file_digest(
            content, lambda: hashlib.new(file.hashtype, usedforsecurity=False)
        )
    if digest.hexdigest() != file.digest:
        raise BuildError(
            f"{file.name}: its {file.hashtype} checksum is {digest.hexdigest()}, but `sources`"
            f" says {file.digest}: import the package again"
        )


def make_srpm(room: Room, directory: str, spec: str) -> Path:
    """Make the source package of a spec file, or package name, in a directory of the clone."""
    outcome = script.run(room, Script(what="rpmbuild -bs", text=SRPM, args=(directory, spec)))
    if outcome.code:
        raise BuildError(f"no source package could be made: {outcome.line}")
    return script.source_package(room)
