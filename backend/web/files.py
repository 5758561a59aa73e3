"""Files and listings below one directory: no symbolic links, no hidden names, byte ranges."""

import contextlib
import gzip
import html
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from backend.layout import BACKEND_LOG, BUILDER_LOG
from backend.web import pairs
from backend.web.errors import ApiError

_PAIRS = pairs.Pairs()
#: Looks at a directory that publishers exchange, before a file that is not there is not there.
_TRIES = 10
_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LIVE = (BUILDER_LOG, BACKEND_LOG)
_TEXT = (".log", ".spec", ".info", ".txt", ".repo", ".cfg", ".gpg", "success", "fail", "status")
_TYPES = {
    ".rpm": "application/x-rpm",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".json": "application/json",
    ".xml": "application/xml",
}
#: Whatever a build puts among its results can do nothing in a browser.
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
}


def hidden(name: str) -> bool:
    """True for names that are not for readers: dot files, temporary ones, unprintable ones."""
    return name.startswith(".") or name.endswith((".tmp", "~")) or not name.isprintable()


def open_log(directory: Path, name: str) -> "Found | None":
    """A log, compressed or not, as `serve` would give it; None without one."""
    try:
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    with _closing(parent):
        with contextlib.suppress(OSError):
            fd = os.open(name, _NO_LINK, dir_fd=parent)
            status = os.fstat(fd)
            return Found(os.fdopen(fd, "rb"), status, status.st_size)
        try:
            return _packed(parent, name)
        except (OSError, ApiError):
            return None


def log_size(directory: Path, name: str) -> int | None:
    """Bytes of a log, compressed or not; None without one."""
    found = open_log(directory, name)
    if found is None:
        return None
    with found.file:
        return found.size


def _nothing() -> ApiError:
    return ApiError(404, "There is nothing at this address.")


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


def _descend(root: Path, parts: list[str]) -> int:
    """Descriptor of the directory `parts` below `root`, following no symbolic link."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        with _closing(fd):
            fd = os.open(part, _NO_LINK | os.O_DIRECTORY, dir_fd=fd)
    return fd


@dataclass(frozen=True)
class Found:
    """An open file, or the size of what a compressed log holds."""

    file: BinaryIO
    status: os.stat_result
    size: int


def serve(root: Path, path: str, request: Request, base: str) -> Response:
    """Answer GET or HEAD for `path` below `root`, which is published under the URL `base`."""
    parts = [part for part in path.split("/") if part]
    if any(hidden(part) for part in parts) or "//" in path:
        raise _nothing()
    tries = _TRIES if parts[-2:-1] == ["repodata"] else 1
    for left in reversed(range(tries)):
        try:
            with _closing(_descend(root, parts[:-1])) as parent:
                return _serve(parent, parts, path, request, base)
        except FileNotFoundError:  # or a publish has just exchanged the directory
            if not left:
                break
        except (OSError, ValueError):
            break
    raise _nothing()


def _serve(parent: int, parts: list[str], path: str, request: Request, base: str) -> Response:
    name = parts[-1] if parts else "."
    reader = _reader(parts, request)
    if name == pairs.SIGNATURE and (signature := _PAIRS.signature(reader)):
        headers = HEADERS | {"Cache-Control": "no-store", "Content-Type": _content_type(name)}
        return Response(signature, headers=headers)
    try:
        fd = os.open(name, _NO_LINK, dir_fd=parent)
    except FileNotFoundError:
        if name not in _LIVE or path.endswith("/"):
            raise
        return _file(name, _packed(parent, name), request)
    status = os.fstat(fd)
    if stat.S_ISDIR(status.st_mode):
        with _closing(fd):
            if parts and not path.endswith("/"):
                return RedirectResponse(f"{base}/{quote('/'.join(parts))}/", 301, HEADERS)
            return HTMLResponse(
                _listing(fd, parts), headers=HEADERS | {"Cache-Control": "no-cache"}
            )
    if not stat.S_ISREG(status.st_mode) or path.endswith("/"):
        os.close(fd)
        raise _nothing()
    wanted = name == pairs.REPOMD and request.method == "GET"
    if wanted and not _PAIRS.given(reader, parent, fd):
        os.close(fd)
        raise FileNotFoundError(name)  # replaced this very moment
    return _file(name, Found(os.fdopen(fd, "rb"), status, status.st_size), request)


def _reader(parts: list[str], request: Request) -> pairs.Reader:
    host = request.client.host if request.client else ""
    return host, request.headers.get("user-agent", ""), "/".join(parts[:-1])


def _packed(parent: int, name: str) -> Found:
    """The log under its old name after it was compressed; offsets are those of the text."""
    fd = os.open(f"{name}.gz", _NO_LINK, dir_fd=parent)
    raw = os.fdopen(fd, "rb")
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size < 18:
        raw.close()
        raise _nothing()
    raw.seek(-4, os.SEEK_END)  # RFC 1952: the size of the text closes the file
    size = int.from_bytes(raw.read(4), "little")
    raw.seek(0)
    return Found(cast(BinaryIO, _Unpacked(raw)), status, size)


class _Unpacked(gzip.GzipFile):
    """Reads a gzip file and closes it too."""

    def __init__(self, raw: BinaryIO) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw = raw

    def close(self) -> None:
        """Close both."""
        super().close()
        self._raw.close()


def _content_type(name: str) -> str:
    if name.endswith(_TEXT) or "." not in name:
        return "text/plain; charset=utf-8"
    known = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    return known or "application/octet-stream"


def _file(name: str, found: Found, request: Request) -> Response:
    modified = formatdate(found.status.st_mtime, usegmt=True)
    etag = f'"{found.status.st_mtime_ns:x}-{found.size:x}"'
    live = name in _LIVE or name in (pairs.REPOMD, pairs.SIGNATURE)
    headers = HEADERS | {
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store" if live else "no-cache",
        "Last-Modified": modified,
        "ETag": etag,
        "Content-Type": _content_type(name),
    }
    if not live and etag in request.headers.get("if-none-match", ""):
        found.file.close()
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range", "")
    if request.headers.get("if-range", etag) not in (etag, modified):
        wanted = ""
    span = _span(wanted, found.size)
    if span is None:
        found.file.close()
        return Response(
            status_code=416, headers=headers | {"Content-Range": f"bytes */{found.size}"}
        )
    start, end, partial = span
    if partial:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    headers["Content-Length"] = str(end - start)
    status = 206 if partial else 200
    if request.method == "HEAD":
        found.file.close()
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_stream(found.file, start, end), status, headers)


def _span(wanted: str, size: int) -> tuple[int, int, bool] | None:
    """Start and end of the bytes to send, and whether they are a part; None if impossible."""
    match = _RANGE.fullmatch(wanted.replace(" ", ""))
    if not match or match.groups() == ("", ""):
        return 0, size, False
    first, last = match.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, end, True) if start < end else None


def _stream(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = end - start
        while left > 0:
            data = file.read(min(_CHUNK, left))
            if not data:
                return
            left -= len(data)
            yield data


def _listing(fd: int, parts: list[str]) -> str:
    rows = []
    with os.scandir(fd) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            directory = entry.is_dir(follow_symlinks=False)
            if hidden(entry.name) or not (directory or entry.is_file(follow_symlinks=False)):
                continue
            name = entry.name + ("/" if directory else "")
            size = "" if directory else f"{entry.stat(follow_symlinks=False).st_size}"
            link = f'<a href="./{quote(name)}">{html.escape(name)}</a>'
            rows.append(f"<tr><td>{link}</td><td align=right>{size}</td></tr>")
    title = html.escape("/" + "/".join(parts))
    up = '<p><a href="../">../</a></p>' if parts else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<meta name=viewport content='width=device-width'>"
        "<style>:root{color-scheme:light dark;font:1rem/1.6 monospace;overflow-wrap:anywhere}"
        "h1{font-size:1.2rem}td{padding-right:2em}td+td{white-space:nowrap}</style>"
        f"<h1>{title}</h1>{up}<table>{''.join(rows)}</table></html>\n"
    )
