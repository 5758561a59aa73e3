"""`copr_be.py rebuild BUILD`: make a build's packages again, and say whether they are the same."""

import contextlib
import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.builders import LOGS, Artifact, installed
from backend.builders.sandbox import UID_RANGE
from backend.commands.rebuildsite import Sites
from backend.commands.text import count, plain
from backend.config import Config
from backend.constants import Exit
from backend.exceptions import BuildError, CoprBackendError
from backend.provenance import compare, published
from backend.provenance.compare import Difference
from backend.provenance.published import Published

#: The last one: no worker of this machine has it.
SLOT = UID_RANGE - 1
_LOG = "builder-live.log"
#: So many lines of a kind are printed; --json has all.
_MOST = 20
_SOURCES = ("src", "nosrc")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one build came out, and on which host (or `local`): each package, and what else is
    installed now (None: not known)."""

    build: Published
    host: str
    packages: Sequence[Difference]
    seconds: float
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    listed: bool = True

    @property
    def identical(self) -> bool:
        """All packages are."""
        return all(package.identical for package in self.packages)


def run(
    config: Config, build: int, chroot: str, *, keep: Path | None, as_json: bool, on_host: bool
) -> int:
    """0 all packages are identical, 1 some differ, 2 it cannot be told."""
    try:
        found = published.find(config.destdir, build, chroot)
        outcomes = list(_again(config, Sites(config, on_host=on_host), found, keep))
    except (CoprBackendError, OSError, ValueError) as error:
        if as_json:
            print(json.dumps({"build": build, "error": str(error)}))
        print(f"copr_be.py: rebuild {build}: {plain(str(error))}", file=sys.stderr)
        return Exit.USAGE
    if as_json:
        print(json.dumps({"build": build, "results": [_record(one) for one in outcomes]}, indent=2))
    else:
        for outcome in outcomes:
            _show(outcome, build, keep)
    return Exit.OK if all(outcome.identical for outcome in outcomes) else Exit.FAILED


def _again(
    config: Config, sites: Sites, found: Sequence[Published], keep: Path | None
) -> Iterator[Outcome]:
    for build in found:
        sites.ready(build)
    top = config.statedir / "rebuild"
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(top):
        for left in top.iterdir():  # of one that was killed
            sites.builder.cleanup(left, SLOT)
        for build in found:
            yield _one(config, sites, build, top, keep)


@contextlib.contextmanager
def _alone(top: Path) -> Iterator[None]:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CoprBackendError("another rebuild runs: wait for its end") from None
        yield
    finally:
        os.close(fd)


def _one(config: Config, sites: Sites, build: Published, top: Path, keep: Path | None) -> Outcome:
    began = time.monotonic()
    then = build.installed
    workdir = Path(tempfile.mkdtemp(prefix="build-", dir=top))
    try:
        with _Listener(keep) as listener:
            request = build.request(
                workdir,
                SLOT,
                timeout=config.builder_timeout,
                stall=config.builder_stall_timeout,
                log=config.builder_max_log,
            )
            with sites.take(build, listener) as site:
                try:
                    artifacts = site.builder.build(request, listener)
                except BuildError as error:
                    raise BuildError(f"it does not build any more: {error}") from error
        made = _binaries(artifacts)
        packages = compare.directories(build.rpms, made)
        if keep:
            for path in made.values():
                shutil.copyfile(path, keep / path.name)
        now = _installed(workdir)
    finally:
        sites.builder.cleanup(workdir, SLOT)
    both = then is not None and now is not None
    return Outcome(
        build=build,
        host=site.name,
        packages=packages,
        seconds=time.monotonic() - began,
        added=sorted(now - then) if then is not None and now is not None else (),
        removed=sorted(then - now) if then is not None and now is not None else (),
        listed=both,
    )


def _binaries(artifacts: Sequence[Artifact]) -> dict[str, Path]:
    return {one.package.filename: one.path for one in artifacts if one.package.arch not in _SOURCES}


def _installed(workdir: Path) -> frozenset[str] | None:
    path = workdir / LOGS / installed.NAME
    return published.names(path.read_text("utf-8", "replace")) if path.is_file() else None


class _Listener:
    """The monitor of a build that nobody cancels but by Ctrl-C; keeps its log if asked to."""

    def __init__(self, keep: Path | None) -> None:
        self._keep = keep

    def __enter__(self) -> "_Listener":
        self._pipe = os.pipe()
        try:
            if self._keep:
                self._keep.mkdir(parents=True, exist_ok=True)
            self._file = (self._keep / _LOG).open("wb") if self._keep else None
        except OSError as error:
            where = f"--keep {self._keep}: {error.strerror}: name a directory that can be written"
            raise CoprBackendError(where) from error
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._pipe:
            os.close(fd)
        if self._file:
            self._file.close()

    def output(self, data: bytes) -> None:
        """Keep it, if wanted."""
        if self._file:
            self._file.write(data)

    def wakeup_fd(self) -> int:
        """Never readable."""
        return self._pipe[0]

    def check(self) -> None:
        """Nothing ends it."""


def _record(outcome: Outcome) -> Mapping[str, Any]:
    build = outcome.build
    return {
        "chroot": str(build.chroot),
        "directory": str(build.path),
        "host": build.host,
        "rebuilt_on": outcome.host,
        "identical": outcome.identical,
        "reproducible": bool(build.settings.get("reproducible", False)),
        "seconds": round(outcome.seconds, 1),
        "packages": [
            {
                "name": one.name,
                "verdict": one.verdict,
                "tags": {name: list(values) for name, values in one.tags.items()},
                "files": dict(one.files),
            }
            for one in outcome.packages
        ],
        "installed": {"added": list(outcome.added), "removed": list(outcome.removed)}
        if outcome.listed
        else None,
    }


def _show(outcome: Outcome, number: int, keep: Path | None) -> None:
    build = outcome.build
    where = "" if outcome.host == "local" else f" on host {outcome.host}"
    print(f"build {number} for {build.chroot}, made again{where} in {outcome.seconds:.1f} s:")
    for one in outcome.packages:
        print(f"  {one.verdict}: {plain(one.name)}")
        _lines([f"    {plain(path)}: {what}" for path, what in one.files.items()], "files")
        values = one.tags.items()
        _lines([f"    {name}: {plain(old)} → {plain(new)}" for name, (old, new) in values], "tags")
    _show_installed(outcome)
    if not outcome.identical:
        _advise(outcome, number, keep)


def _show_installed(outcome: Outcome) -> None:
    if not outcome.listed:
        print("installed packages: not known of that build")
    elif outcome.added or outcome.removed:
        changed = len(outcome.added) + len(outcome.removed)
        print(f"installed packages: {count(changed, 'change')} since")
        _lines([f"  - {plain(name)}" for name in outcome.removed], "gone")
        _lines([f"  + {plain(name)}" for name in outcome.added], "new")
    else:
        print("installed packages: the same")


def _advise(outcome: Outcome, number: int, keep: Path | None) -> None:
    build = outcome.build
    if not build.settings.get("reproducible", False):
        print("it was built with [builder] reproducible = no: times and host name differ")
    if build.host != outcome.host:
        before, now = (_place(name) for name in (build.host, outcome.host))
        print(f"it was built {before}, now {now}")
    name = next(one.name for one in outcome.packages if not one.identical)
    if keep:
        print(f"what is inside: diffoscope {build.path / name} {keep / name}")
    else:
        print(f"to look inside: copr_be.py rebuild {number} {build.chroot} --keep DIR")


def _place(host: str) -> str:
    return "on this machine" if host == "local" else f"on host {host}"


def _lines(lines: Sequence[str], what: str) -> None:
    for line in lines[:_MOST]:
        print(line)
    if len(lines) > _MOST:
        print(f"    … and {len(lines) - _MOST} more {what}: --json has all")
