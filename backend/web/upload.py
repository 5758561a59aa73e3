"""Multipart upload of one package, streamed to disk and checked while it arrives."""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from backend import diskguard
from backend.web.errors import ApiError
from backend.web.names import BINARY_NAME, SRPM_NAME, stored_name

_MAGIC = b"\xed\xab\xee\xdb"
_LEAD = 8  # magic, major, minor, type
_MAX_JSON = 1024**2
#: A disk that is full, or the share of it that may be used.
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What may be uploaded: words for it, names of its files, and its type in the RPM's lead."""

    title: str
    example: str
    names: re.Pattern[str]
    lead: bytes
    otherwise: str


SOURCE = Kind(
    title="source package",
    example="*.src.rpm",
    names=SRPM_NAME,
    lead=b"\x00\x01",
    otherwise="is a binary RPM: a source package is needed",
)
BINARY = Kind(
    title="binary package",
    example="*.rpm, not *.src.rpm",
    names=BINARY_NAME,
    lead=b"\x00\x00",
    otherwise="is a source RPM: copr-cli build takes it",
)


class Upload:
    """Receives the parts `json` and `pkgs`; the first problem is kept, the rest is drained.

    Clients send everything before they read the answer, so refusing means to read on without
    storing. `min_free` bytes of the disk stay free (None: the default of the disk guard).
    """

    def __init__(
        self, directory: Path, limit: int, min_free: int | None = None, kind: Kind = SOURCE
    ) -> None:
        self.token = secrets.token_hex(16)
        self.directory = directory / self.token
        self.name = ""
        self.error: ApiError | None = None
        self._kind = kind
        self._limit = limit
        self._min_free = min_free
        self._room = limit
        self._fields = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._header = (bytearray(), bytearray())
        self._part = ""
        self._head = b""
        self._size = 0
        self._file: Any = None

    async def receive(self, request: Request) -> dict[str, Any]:
        """Read the request; returns the JSON part, or raises ApiError and leaves no file."""
        try:
            kind, options = parse_options_header(request.headers.get("content-type", ""))
            if kind != b"multipart/form-data" or b"boundary" not in options:
                raise ApiError(415, "Send the package as multipart/form-data")
            parser = MultipartParser(options[b"boundary"], self._callbacks())
            async for chunk in request.stream():
                if chunk and self.error is None:
                    await run_in_threadpool(parser.write, chunk)
            return self._finish()
        except FormParserError as error:
            self.discard()
            raise ApiError(400, f"pkgs: the form is broken: {error}") from error
        except BaseException:
            self.discard()
            raise
        finally:
            if self._file is not None:
                self._file.close()

    def discard(self) -> None:
        """Remove what was stored."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _finish(self) -> dict[str, Any]:
        if self.error is None and not self.name:
            self.error = ApiError(400, "pkgs: no file was sent")
        if self.error is None and len(self._head) < _LEAD:
            title = self._kind.title
            self._refuse(400, f"pkgs: {self.name} is no {title}: it is empty or cut off")
        if self.error is not None:
            raise self.error
        try:
            fields = json.loads(bytes(self._fields) or b"{}")
        except ValueError as error:
            raise ApiError(400, f"json: is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise ApiError(400, "json: must be an object")
        return fields

    def _refuse(self, status: int, text: str) -> None:
        if self.error is None:
            self.error = ApiError(status, text)

    def _callbacks(self) -> Any:
        def add(index: int) -> Callable[[bytes, int, int], None]:
            def append(data: bytes, start: int, end: int) -> None:
                self._header[index].extend(data[start:end])

            return append

        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": add(0),
            "on_header_value": add(1),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
        }

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        name.clear()
        value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._part = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part != "pkgs":
            return
        filename = options.get(b"filename", b"").decode("utf-8", "replace")
        if self.name:
            self._refuse(400, "pkgs: send one package at a time")
        else:
            self._open(filename)

    def _open(self, filename: str) -> None:
        try:
            self.name = stored_name(filename, self._kind.names)
        except ValueError:
            self._refuse(
                400, f"pkgs: {filename[:100]!r} is no {self._kind.title}: send a file named"
                f" {self._kind.example}"
            )  # fmt: skip
            return
        try:
            self.directory.mkdir(parents=True, mode=0o755)
            self._room = self._free()
            self._file = (self.directory / self.name).open("xb", buffering=0)
        except OSError as error:
            self._full(error)

    def _free(self) -> int:
        """Bytes that may be stored; refuses when those are none."""
        disk = os.statvfs(self.directory)
        least = diskguard.limit(self._min_free, disk.f_blocks * disk.f_frsize)
        room = disk.f_bavail * disk.f_frsize - least
        if room <= 0:
            self._no_room()
        return room

    def _full(self, error: OSError) -> None:
        """Refuse, for want of room; any other error is one."""
        if error.errno not in FULL:
            raise error
        self._no_room()

    def _no_room(self) -> None:
        self._refuse(
            507, f"pkgs: {self.name} cannot be stored: this server's disk is nearly full;"
            " try again later"
        )  # fmt: skip

    def _data(self, data: bytes, start: int, end: int) -> None:
        chunk = data[start:end]
        if self._part == "json":
            self._fields += chunk
            if len(self._fields) > _MAX_JSON:
                self._refuse(413, "json: is too long")
                self._fields.clear()
        elif self._part == "pkgs" and self.error is None:
            self._size += len(chunk)
            if self._size > self._limit:
                self._refuse(
                    413, f"pkgs: {self.name} is larger than this server's limit of"
                    f" {self._limit} bytes (web.max_upload)"
                )  # fmt: skip
                return
            if len(self._head) < _LEAD:
                self._head = (self._head + chunk)[:_LEAD]
                self._check_lead()
            self._store(chunk)

    def _store(self, chunk: bytes) -> None:
        if self._size > self._room and self._room < self._limit:
            self._no_room()
            return
        try:
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._full(error)

    def _check_lead(self) -> None:
        if len(self._head) < _LEAD:
            return
        if self._head[:4] != _MAGIC:
            self._refuse(400, f"pkgs: {self.name} is no RPM: its first bytes are wrong")
        elif self._head[6:8] != self._kind.lead:
            self._refuse(400, f"pkgs: {self.name} {self._kind.otherwise}")
