"""One result directory: logs while a build runs, its files, and the mark of success at last.

Everything is put in place by rename, so that a web server never serves half a file. Only the
daemon writes here. Disk errors are the farm's: they leave as InfrastructureError.
"""

import contextlib
import errno
import fcntl
import gzip
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend import logpack
from backend.builders import Artifact
from backend.disk import DIR_MODE, FILE_MODE, append, make_directory, sync, write_file
from backend.exceptions import BuildError, InfrastructureError
from backend.layout import (
    BACKEND_LOG,
    BUILD_INFO,
    BUILDER_LOG,
    CONFIGS,
    PREVIOUS,
    RESULTS_JSON,
    SUCCESS,
    TRANSFER_LOG,
)
from backend.repo import scan

_LOG_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_SPEC_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^-]*\.spec")


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _trouble(path, error) from error


def _trouble(path: Path, error: OSError) -> InfrastructureError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free space there" if full else "check that directory"
    return InfrastructureError(f"cannot write to {path}: {error.strerror}; {remedy}")


class ResultDir:
    """The result directory of one build, from its first log line to the compressed logs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prefix = f"{path}/"
        self._builder_fd = -1
        self._backend_fd = -1
        self._lock_fd = -1
        self._fresh = False  # made by us just now
        self._unsynced: list[str] = []

    def hold(self) -> None:
        """Make the directory, and keep others out of it until `close`.

        Raises InfrastructureError while another process works there: an earlier start of the
        same build, which has not noticed yet that it was replaced.
        """
        with _disk_errors(self.path):
            self._fresh = _make(self.path)
            self._lock_fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._unlock()
                raise InfrastructureError(
                    f"an earlier start of this build still works in {self.path}"
                ) from None

    def _unlock(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
        self._lock_fd = -1

    @property
    def used(self) -> bool:
        """True when anything of an earlier attempt is there."""
        with _disk_errors(self.path):
            return not self._fresh and any(self.path.iterdir())

    def finished(self) -> dict[str, Any] | None:
        """The results.json of an earlier attempt that had marked its success; else None."""
        try:
            if not (self.path / SUCCESS).is_file():
                return None
            data = json.loads((self.path / RESULTS_JSON).read_bytes())
        except (OSError, ValueError):
            return None
        return data if isinstance(data, dict) else None

    def open(self, line: str) -> None:
        """Make the directory, put an earlier attempt's files away, and open both logs; `line`
        is the first one of backend.log."""
        with _disk_errors(self.path):
            if not self._fresh:
                make_directory(self.path)
                self._put_away()
            self._fresh = False
            self._builder_fd = self._open_log(BUILDER_LOG)
            self._backend_fd = self._open_log(BACKEND_LOG)
        self.log(line)

    def log(self, line: str) -> None:
        """Add to backend.log; every line of the text carries the time (UTC)."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        text = "".join(f"[{stamp}] {part}\n" for part in line.splitlines() or [""])
        self._append(self._backend_fd, text.encode("utf-8", "replace"))

    def output(self, data: bytes) -> None:
        """Add to builder-live.log; readers see it at once."""
        self._append(self._builder_fd, data)

    def write_info(self, build_id: int, builder: str, identity: str = "") -> None:
        """Write build.info: which build, where it runs, and the word for what it builds."""
        own = f"\ntask={identity}" if identity else ""
        self._write(BUILD_INFO, f"build_id={build_id}\nbuilder_ip={builder}{own}".encode())

    def of(self, identity: str) -> bool | None:
        """Whether what is here was built for the task of this identity; None: nobody knows."""
        try:
            text = "" if self._fresh else (self.path / BUILD_INFO).read_text("utf-8", "replace")
        except OSError:
            return None
        known = [line for line in text.splitlines() if line.startswith("task=")]
        return f"task={identity}" in known if known and identity else None

    def write_json(self, data: Mapping[str, Any]) -> None:
        """Write results.json."""
        self.write_document(RESULTS_JSON, json.dumps(data, indent=4).encode() + b"\n")

    def write_document(self, name: str, content: bytes) -> None:
        """Write a file that belongs to the packages, and is as safe as they are."""
        self._write(name, content)
        self._unsynced.append(self._prefix + name)

    def write_spec(self, name: str, content: bytes) -> None:
        """Write the spec file under its own name; BuildError if that is no plain name."""
        if not _SPEC_NAME.fullmatch(name) or len(name) > 200:
            raise BuildError(f"the source package names its spec file {name[:80]!r}: rename it")
        self._write(name, content)

    def place(self, artifacts: Sequence[Artifact]) -> None:
        """Take the result files over under their canonical names."""
        sizes = {}
        for artifact in artifacts:
            name = artifact.package.filename
            target, temporary = self._prefix + name, f"{self._prefix}.{name}.tmp"
            with _disk_errors(self.path):
                sizes[name] = _take(artifact.path, temporary)
                os.replace(temporary, target)  # noqa: PTH105
                self._unsynced.append(target)
        # Today's backend copies results by rsync and keeps its log; ours says the same.
        lines = [f"{name} {size}\n" for name, size in sorted(sizes.items())]
        number = self.path.name.partition("-")[0]
        self._write(TRANSFER_LOG.format(number=number), "".join(lines).encode())

    def write_configs(self, settings: Mapping[str, Any]) -> None:
        """Write configs.tar.gz: with which settings the packages were built."""
        content = json.dumps(settings, sort_keys=True).encode() + b"\n"
        entry = tarfile.TarInfo("configs/settings.json")
        entry.size, entry.mode, entry.mtime = len(content), FILE_MODE, int(time.time())
        # By hand: TarFile takes longer than all the rest.
        block = tarfile.BLOCKSIZE
        archive = entry.tobuf(tarfile.USTAR_FORMAT) + content
        archive += bytes(-len(content) % block + 2 * block)
        self._write(CONFIGS, gzip.compress(archive, 6))

    def settle(self) -> None:
        """Have packages and results.json on disk, before anybody may mark the success.

        Only a success must survive a crash of the machine: all others are tried again. What
        only informs (logs, the spec file) is not worth waiting for the disk.
        """
        with _disk_errors(self.path):
            for path in self._unsynced:
                sync(path)
            self._unsynced.clear()

    def mark_success(self) -> None:
        """Write `success`, of a build that no repository lists; comes last."""
        self.settle()
        with _disk_errors(self.path):
            scan.mark(self.path)
            sync(self.path)

    def close(self, compress: bool = True) -> None:
        """Close the logs and compress them; harmless when repeated."""
        logs = {BUILDER_LOG: self._builder_fd, BACKEND_LOG: self._backend_fd}
        self._builder_fd = self._backend_fd = -1
        try:
            for name, fd in logs.items():
                if compress:
                    with _disk_errors(self.path):
                        logpack.turn(self._prefix, name, fd)
        finally:
            for fd in logs.values():
                if fd >= 0:
                    os.close(fd)
            self._unlock()

    def _open_log(self, name: str) -> int:
        fd = os.open(self.path / name, _LOG_FLAGS, FILE_MODE)
        os.fchmod(fd, FILE_MODE)
        return fd

    # Both are called a dozen times for each task. What belongs to each task takes plain names,
    # not a Path: that takes longer than the file.

    def _append(self, fd: int, data: bytes) -> None:
        try:
            append(fd, data)
        except OSError as error:
            raise _trouble(self.path, error) from error

    def _write(self, name: str, content: bytes) -> None:
        temporary = f"{self._prefix}.{name}.tmp"
        try:
            write_file(temporary, content)
            os.replace(temporary, self._prefix + name)  # noqa: PTH105
        except OSError as error:
            raise _trouble(self.path, error) from error

    def _put_away(self) -> None:
        """Keep the logs of an earlier attempt in a directory of their own, delete the rest."""
        (self.path / SUCCESS).unlink(missing_ok=True)  # first: what follows is no result
        entries = [entry for entry in self.path.iterdir() if entry.name != PREVIOUS]
        logs = [entry for entry in entries if _is_log(entry)]
        if logs:
            keep = self._next_backup()
            for entry in logs:
                entry.replace(keep / entry.name)
        for entry in set(entries) - set(logs):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _next_backup(self) -> Path:
        previous = self.path / PREVIOUS
        make_directory(previous)
        numbers = [int(entry.name) for entry in previous.iterdir() if entry.name.isdecimal()]
        keep = previous / str(max(numbers, default=0) + 1)
        make_directory(keep)
        return keep


def _is_log(entry: Path) -> bool:
    named = entry.name == BUILD_INFO or entry.name.endswith((".log", ".log.gz"))
    return named and not entry.name.startswith(".") and entry.is_file() and not entry.is_symlink()


def _make(path: Path) -> bool:
    """Make the directory, with its parents; False when it was there."""
    try:
        path.mkdir()
    except FileExistsError:
        make_directory(path, spread_out=True)  # raises if it is none
        return False
    except FileNotFoundError:
        make_directory(path, spread_out=True)
        return False  # or another was faster
    path.chmod(DIR_MODE)
    return True


def _take(source: Path, target: str) -> int:
    """Rename if the file is ours alone and on the same file system, else copy it; its size."""
    status = source.stat(follow_symlinks=False)
    if status.st_uid != os.geteuid() or status.st_nlink != 1 or not _rename(source, target):
        shutil.copyfile(source, target, follow_symlinks=False)
    os.chmod(target, FILE_MODE)  # noqa: PTH101
    return status.st_size


def _rename(source: Path, target: str) -> bool:
    """False when they are on different file systems."""
    try:
        os.replace(source, target)  # noqa: PTH105
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True
