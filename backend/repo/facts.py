"""What an RPM's header says of it, as far as metadata tell it; read without librpm.

Only of ordinary packages: whatever is unusual raises Odd, and is createrepo_c's to judge.
"""

import hashlib
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from backend import rpmtags

#: Packages with a larger header are read by a program of their own, not in our memory.
MOST_HEADER = 512 * 1024
_PIECE = 1024**2
_NAME, _VERSION, _RELEASE, _EPOCH, _SUMMARY, _DESCRIPTION = 1000, 1001, 1002, 1003, 1004, 1005
_BUILDTIME, _BUILDHOST, _SIZE, _VENDOR, _LICENSE, _PACKAGER = 1006, 1007, 1009, 1011, 1014, 1015
_GROUP, _URL, _ARCH, _SOURCERPM, _ARCHIVESIZE, _SOURCEPACKAGE = 1016, 1020, 1022, 1044, 1046, 1106
_BASENAMES, _DIRNAMES, _DIRINDEXES, _MODES, _FLAGS, _DIGESTS = 1117, 1118, 1116, 1030, 1037, 1035
_LOG_TIME, _LOG_NAME, _LOG_TEXT = 1080, 1081, 1082
_SIG_ARCHIVESIZE = 1007
#: Old file lists, sizes of 64 bits, weak dependencies of another time: not made by today's rpm
#: for packages of a usual size, and not for us.
_UNUSUAL = {1027, 5009, 271, 1156, 1157, 1158, 1159, 1160, 1161}
#: Kind of dependency → tags of its names, flags and versions.
DEPENDENCIES: Mapping[str, tuple[int, int, int]] = {
    "provides": (1047, 1112, 1113),
    "requires": (1049, 1048, 1050),
    "conflicts": (1054, 1053, 1055),
    "obsoletes": (1090, 1114, 1115),
    "suggests": (5049, 5051, 5050),
    "enhances": (5055, 5057, 5056),
    "recommends": (5046, 5048, 5047),
    "supplements": (5052, 5054, 5053),
}
_GHOST, _TYPE, _DIRECTORY = 1 << 6, 0o170000, 0o040000
#: Control characters have several ways into, and out of, XML.
_STRANGE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")


class Odd(Exception):
    """The package is not an ordinary one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """One package. `texts` are the strings that primary.xml repeats; `header` is where the
    header is in the file; dependencies are (name, flags, version), files (path, kind)."""

    digest: str
    size: int
    time: int
    header: tuple[int, int]
    arch: str
    epoch: int
    texts: Mapping[str, str]
    built: int
    installed: int
    archive: int
    files: tuple[tuple[str, str], ...]
    dependencies: Mapping[str, tuple[tuple[str, int, str], ...]]
    changelog: tuple[tuple[int, str, str], ...]


_TEXTS: Mapping[str, int] = {
    "name": _NAME,
    "version": _VERSION,
    "release": _RELEASE,
    "summary": _SUMMARY,
    "description": _DESCRIPTION,
    "packager": _PACKAGER,
    "url": _URL,
    "license": _LICENSE,
    "vendor": _VENDOR,
    "group": _GROUP,
    "buildhost": _BUILDHOST,
    "sourcerpm": _SOURCERPM,
}


def read(path: Path) -> Facts:
    """Raises Odd, also for what is no RPM, and OSError."""
    with path.open("rb", buffering=0) as raw:
        status = os.fstat(raw.fileno())
        whole = hashlib.sha256()
        while data := raw.read(_PIECE):
            whole.update(data)
        raw.seek(0)
        try:
            signature, main, start = _sections(raw)
            return _facts(signature, main, start, status, whole.hexdigest())
        except (ValueError, struct.error) as error:
            raise Odd(str(error)) from error


def _sections(file: BinaryIO) -> tuple[rpmtags.Section, rpmtags.Section, int]:
    if file.read(rpmtags.LEAD)[:4] != rpmtags.LEAD_MAGIC:
        raise Odd("no RPM package")
    signature = rpmtags.read(file, rpmtags.SIGNATURE_REGION, most=MOST_HEADER)
    start = rpmtags.LEAD + len(signature.raw) + -len(signature.raw) % 8
    file.seek(start)
    return signature, rpmtags.read(file, rpmtags.REGION, most=MOST_HEADER), start


def _facts(
    signature: rpmtags.Section,
    main: rpmtags.Section,
    start: int,
    status: os.stat_result,
    digest: str,
) -> Facts:
    tags = _Tags(main)
    if _UNUSUAL & (main.tags.keys() | signature.tags.keys()):
        raise Odd("its header has unusual tags")
    archive = _Tags(signature).number(_SIG_ARCHIVESIZE)
    if _ARCHIVESIZE in main.tags:
        archive = tags.number(_ARCHIVESIZE)
    if archive is None:
        raise Odd("it does not say how large its archive is")
    texts = {key: tags.text(tag) for key, tag in _TEXTS.items()}
    if not (texts["name"] and texts["version"] and texts["release"]):
        raise Odd("it has no name")
    if (_SOURCEPACKAGE in main.tags) == (_SOURCERPM in main.tags):
        raise Odd("it does not say whether it is a source package")
    return Facts(
        digest=digest,
        size=status.st_size,
        time=int(status.st_mtime),
        header=(start, start + len(main.raw)),
        arch="src" if tags.number(_SOURCEPACKAGE) else tags.text(_ARCH),
        epoch=tags.number(_EPOCH) or 0,
        texts=texts,
        built=tags.number(_BUILDTIME) or 0,
        installed=tags.number(_SIZE) or 0,
        archive=archive,
        files=tags.files(),
        dependencies={kind: tags.dependencies(*which) for kind, which in DEPENDENCIES.items()},
        changelog=tags.changelog(),
    )


class _Tags:
    """A header's values, of the types that they ought to have; Odd if they are not."""

    def __init__(self, section: rpmtags.Section) -> None:
        self._tags = section.tags

    def _get(self, tag: int, *kinds: int) -> tuple[int, bytes] | None:
        if tag not in self._tags:
            return None
        kind, count, data = self._tags[tag]
        if kind not in kinds:
            raise Odd(f"tag {tag} is of an unusual type")
        return count, data

    def text(self, tag: int) -> str:
        found = self._get(tag, rpmtags.STRING, rpmtags.I18N)
        return "" if found is None else _decoded(found[1].partition(b"\0")[0])

    def number(self, tag: int) -> int | None:
        found = self.numbers(tag)
        if found is not None and len(found) != 1:
            raise Odd(f"tag {tag} has several numbers")
        return found[0] if found else None

    def numbers(self, tag: int, kind: int = rpmtags.INT32) -> list[int] | None:
        found = self._get(tag, kind)
        if found is None:
            return None
        letter = "I" if kind == rpmtags.INT32 else "H"
        return list(struct.unpack_from(f">{found[0]}{letter}", found[1]))

    def strings(self, tag: int) -> list[str] | None:
        found = self._get(tag, rpmtags.STRINGS)
        if found is None:
            return None
        parts = found[1].split(b"\0", found[0])
        if len(parts) <= found[0]:
            raise Odd(f"tag {tag} is truncated")
        return [_decoded(part) for part in parts[: found[0]]]

    def files(self) -> tuple[tuple[str, str], ...]:
        names, directories = self.strings(_BASENAMES), self.strings(_DIRNAMES)
        places, flags = self.numbers(_DIRINDEXES), self.numbers(_FLAGS)
        modes, digests = self.numbers(_MODES, rpmtags.INT16), self.strings(_DIGESTS)
        if names is None and directories is None and places is None:
            return ()
        if not (names and directories and places and flags and modes and digests):
            raise Odd("its list of files is incomplete")
        if max(places) >= len(directories) or len(directories) > len(names):
            raise Odd("its list of files is wrong")
        _same_length(names, places, flags, modes, digests)
        return tuple(
            (directories[place] + name, _kind(mode, flag))
            for name, place, flag, mode in zip(names, places, flags, modes, strict=True)
        )

    def dependencies(self, *which: int) -> tuple[tuple[str, int, str], ...]:
        names, flags = self.strings(which[0]), self.numbers(which[1])
        versions = self.strings(which[2])
        if names is None and flags is None and versions is None:
            return ()
        if names is None or flags is None or versions is None:
            raise Odd("a list of dependencies is incomplete")
        _same_length(names, flags, versions)
        if not all(names):
            raise Odd("a dependency has no name")
        return tuple(zip(names, flags, versions, strict=True))

    def changelog(self) -> tuple[tuple[int, str, str], ...]:
        times, names = self.numbers(_LOG_TIME), self.strings(_LOG_NAME)
        texts = self.strings(_LOG_TEXT)
        if times is None and names is None and texts is None:
            return ()
        if times is None or names is None or texts is None:
            raise Odd("its changelog is incomplete")
        _same_length(times, names, texts)
        if not all(name.strip(" ") for name in names):
            raise Odd("a change has no author")
        return tuple(zip(times, names, texts, strict=True))


def _decoded(text: bytes) -> str:
    found = text.decode()  # a UnicodeDecodeError is a ValueError
    if _STRANGE.search(found):
        raise Odd("it has strange characters")
    return found


def _kind(mode: int, flags: int) -> str:
    if mode & _TYPE == _DIRECTORY:
        return "dir"
    return "ghost" if flags & _GHOST else ""


def _same_length(*lists: list[str] | list[int]) -> None:
    if len({len(each) for each in lists}) != 1:
        raise Odd("lists in its header have different lengths")
