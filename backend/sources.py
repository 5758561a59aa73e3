"""Gets a source package: from an upload, from a URL, or from our own results."""

import functools
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

import urllib3

from backend.constants import Source
from backend.exceptions import BuildError, FrontendError
from backend.job import RpmTask, SourceTask

_CHUNK = 1 << 16
#: Longest time that one transfer may take, in seconds.
LONGEST = 3600.0
#: Somebody may want to cancel meanwhile; in seconds.
CHECK_EVERY = 0.5
_SUFFIXES = (".src.rpm", ".nosrc.rpm")


def file_name(url: str) -> str:
    """The last part of a URL as a harmless file name, to be recognised in messages."""
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9._+~^-]", "_", name)[-200:].lstrip(".-") or "source.src.rpm"


def source_url(task: SourceTask) -> str:
    """The URL that a source task of type link or upload names; raises BuildError otherwise."""
    if task.source_type not in (Source.LINK, Source.UPLOAD):
        raise BuildError(
            f"source type {task.source_type.name.lower()} is not supported by this backend:"
            " submit a source RPM by file or URL"
        )
    url = task.source.get("url")
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        raise BuildError(f"{str(url)[:200]!r} is no http:// or https:// address of a source RPM")
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    if not name.endswith(_SUFFIXES):
        raise BuildError(f"{url} names no source RPM: its name must end in .src.rpm")
    return url


def _nothing() -> None:
    """The check of a download that nobody can cancel."""


def download(
    url: str,
    target: Path,
    limit: int,
    check: Callable[[], None] = _nothing,
    *,
    timeout: float = 60.0,
) -> None:
    """Fetch `url` into the file `target`, at most `limit` bytes.

    `check` is called every `CHECK_EVERY` seconds, also while the server is silent, and may end
    the transfer by raising.

    Raises BuildError when the server refuses it (4xx) or it is too large, FrontendError when
    nobody answers or the transfer breaks off: that is worth another try.
    """
    # Name servers and silent peers hold a thread up for minutes; ours stays free.
    transfer = _Transfer(url, target, limit, timeout)
    transfer.start()
    try:
        while transfer.is_alive():
            transfer.join(CHECK_EVERY)
            check()
    finally:
        transfer.given_up = True
    if transfer.error is not None:
        raise transfer.error


@functools.cache
def _http() -> urllib3.PoolManager:
    """Keeps a connection open: the next source often comes from the same server."""
    retries = urllib3.Retry(
        total=5, connect=2, read=2, redirect=5, backoff_factor=0.5, raise_on_redirect=False
    )
    return urllib3.PoolManager(2, retries=retries)


class _Transfer(threading.Thread):
    """One download. Once `given_up`, it ends at its next sign of life, or with the process."""

    def __init__(self, url: str, target: Path, limit: int, timeout: float) -> None:
        super().__init__(name="download", daemon=True)
        self._url, self._target, self._limit, self._timeout = url, target, limit, timeout
        self.given_up = False
        self.error: Exception | None = None

    def run(self) -> None:
        """Fetch; what goes wrong is kept in `error`."""
        try:
            self._fetch()
        except Exception as error:  # noqa: BLE001  (raised again by who waits for us)
            self.error = error

    def _fetch(self) -> None:
        timeout = urllib3.Timeout(connect=min(self._timeout, 20.0), read=self._timeout)
        options: dict[str, Any] = {"preload_content": False, "decode_content": False}
        try:
            with _http().request("GET", self._url, timeout=timeout, **options) as reply:
                if self.given_up:  # the directory may be another's by now
                    return
                if reply.status != 200:
                    _refuse(self._url, reply)
                with self._target.open("wb") as file:
                    self._copy(reply, file)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # urllib3 wraps the reason twice; people need only the innermost words.
            reason = str(getattr(error, "reason", None) or error).rsplit(": ", 1)[-1]
            raise FrontendError(f"cannot fetch {self._url}: {reason}") from error

    def _copy(self, reply: urllib3.BaseHTTPResponse, file: IO[bytes]) -> None:
        deadline = time.monotonic() + LONGEST
        url, size = self._url, 0
        # read1 returns what has come, so that a slow server is given up soon.
        while (chunk := reply.read1(_CHUNK)) and not self.given_up:
            size += len(chunk)
            if size > self._limit:
                raise BuildError(
                    f"{url} is larger than {self._limit} bytes ([builder] max_download)"
                )
            if time.monotonic() > deadline:
                raise BuildError(f"{url} was not complete after {LONGEST:g} s: use a faster server")
            file.write(chunk)


def _refuse(url: str, reply: urllib3.BaseHTTPResponse) -> None:
    if reply.status >= 500 or reply.status in (408, 429):
        raise FrontendError(f"cannot fetch {url}: the server answered {reply.status}")
    raise BuildError(
        f"cannot fetch {url}: the server answered {reply.status} {reply.reason or ''}".rstrip()
        + ": check the address"
    )


def fetch(task: SourceTask, target: Path, limit: int, check: Callable[[], None] = _nothing) -> None:
    """Fetch the package of a source task into `target`.

    A user's server that cannot be reached fails the build (BuildError); trouble with an
    upload is the frontend's (FrontendError), and the task waits for it.
    """
    url = source_url(task)
    try:
        download(url, target, limit, check)
    except FrontendError as error:
        if task.source_type is Source.LINK:
            raise BuildError(f"{error}: check the address, or submit again later") from error
        raise


def stored_upload(url: str, frontend_url: str, statedir: Path) -> Path | None:
    """The file of an upload that our own embedded frontend (at `frontend_url`) has stored."""
    prefix = f"{frontend_url}/tmp/"  # noqa: S108  (a URL)
    if not url.startswith(prefix):
        return None
    parts = unquote(url.removeprefix(prefix)).split("/")
    if len(parts) != 2 or not parts[0].isalnum() or parts[1].startswith("."):
        return None
    path = statedir / "uploads" / parts[0] / parts[1]
    return path if path.is_file() and not path.is_symlink() else None


def published_srpm(task: RpmTask, destdir: Path, results_url: str) -> Path | None:
    """The task's source package on our own disk, if its URL is one of our results."""
    prefix = results_url.rstrip("/") + "/"
    if not task.srpm_url or not task.srpm_url.startswith(prefix):
        return None
    relative = unquote(task.srpm_url.removeprefix(prefix))
    path = destdir / relative
    return path if path.is_file() and _below(str(destdir), relative) else None


def _below(top: str, relative: str) -> bool:
    """True when that file lies below `top` wherever links lead."""
    path = top
    for part in relative.split("/"):
        path = f"{path}/{part}"
        if part in ("", ".", "..") or os.path.islink(path):  # noqa: PTH114
            break
    else:
        return True  # the usual case: following them all would take ten times as long
    real = os.path.realpath(os.path.join(top, relative))  # noqa: PTH118
    return real.startswith(os.path.realpath(top) + os.sep)
