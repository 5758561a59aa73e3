"""What two RPMs of the same name differ in. Signatures do not count: they lie before the header."""

import hashlib
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend import rpmtags
from backend.provenance.packages import header_section

IDENTICAL, HEADER, CONTENT = "identical", "header differs", "content differs"
ONLY_BEFORE, ONLY_NOW = "not made any more", "not made before"
_DIRNAMES, _DIRINDEXES, _BASENAMES = 1118, 1116, 1117
#: Tag → what it says of a file, in the order of the files.
_OF_FILES = {
    1035: "content", 1028: "size", 5008: "size", 1030: "mode", 1034: "time", 1036: "link",
    1037: "flags", 1039: "owner", 1040: "group", 5010: "capabilities",
}  # fmt: skip
#: Tags that differ because files or other tags do.
_FOLLOW = {*_OF_FILES, 1009, 5009, 1046, 1095, 1096, 1140, 5062, 5092, 5097, 5016}
_NAMES = {
    1000: "Name", 1004: "Summary", 1005: "Description", 1006: "BuildTime", 1007: "BuildHost",
    1011: "Vendor", 1014: "License", 1016: "Group", 1020: "URL", 1023: "PreIn", 1024: "PostIn",
    1025: "PreUn", 1026: "PostUn", 1044: "SourceRpm", 1047: "Provides", 1048: "RequireFlags",
    1049: "Requires", 1050: "RequireVersion", 1064: "RpmVersion", 1080: "ChangelogTime",
    1081: "ChangelogName", 1082: "ChangelogText", 1094: "Cookie", 1113: "ProvideVersion",
    1116: "DirIndexes", 1117: "BaseNames", 1118: "DirNames", 1122: "OptFlags",
    1124: "PayloadFormat", 1125: "PayloadCompressor", 1126: "PayloadFlags", 1132: "Platform",
    1146: "SourcePkgId", 5012: "BugUrl", 5034: "Vcs", 5098: "FileDigestAlgo",
}  # fmt: skip
_NUMBERS = {1: "B", 2: "B", 3: ">H", 4: ">I", 5: ">Q"}
#: Characters of a value that are shown.
_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The result for one file name. `tags`: name → value before and now, `files`: path → what
    differs."""

    name: str
    verdict: str
    tags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def identical(self) -> bool:
        """Nothing differs but signatures."""
        return self.verdict == IDENTICAL


def directories(before: Mapping[str, Path], now: Mapping[str, Path]) -> list[Difference]:
    """Compare by name. Raises ValueError if one is no RPM, OSError."""
    found = []
    for name in sorted({*before, *now}):
        if name not in now:
            found.append(Difference(name=name, verdict=ONLY_BEFORE))
        elif name not in before:
            found.append(Difference(name=name, verdict=ONLY_NOW))
        else:
            found.append(files(before[name], now[name]))
    return found


def files(before: Path, now: Path) -> Difference:
    """Compare two packages."""
    (old, old_payload), (new, new_payload) = _read(before), _read(now)
    same = old_payload == new_payload
    if same and old.raw == new.raw:
        return Difference(name=before.name, verdict=IDENTICAL)
    one, other = _values(old), _values(new)
    differ = {tag for tag in {*one, *other} if one.get(tag) != other.get(tag)}
    shown = sorted(differ - _FOLLOW) or sorted(differ)
    return Difference(
        name=before.name,
        verdict=HEADER if same else CONTENT,
        tags={
            _NAMES.get(tag, f"tag {tag}"): (_text(one.get(tag)), _text(other.get(tag)))
            for tag in shown
        }
        if differ - _FOLLOW or same
        else {},
        files=_files(one, other),
    )


def _read(path: Path) -> tuple[rpmtags.Section, str]:
    """The header, and the SHA-256 of what follows it."""
    with path.open("rb") as file:
        try:
            section = header_section(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return section, hashlib.file_digest(file, "sha256").hexdigest()


def _values(section: rpmtags.Section) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for tag, (kind, count, data) in section.tags.items():
        if kind in _NUMBERS:
            form = _NUMBERS[kind]
            whole = struct.calcsize(form) * min(count, len(data) // struct.calcsize(form))
            found[tag] = [value for (value,) in struct.iter_unpack(form, data[:whole])]
        elif kind == rpmtags.BINARY:
            found[tag] = data[:count].hex()
        else:
            words = data.split(b"\0", count)[:count]
            found[tag] = [word.decode("utf-8", "replace") for word in words]
    return found


def _files(one: Mapping[int, Any], other: Mapping[int, Any]) -> dict[str, str]:
    before, now = _by_path(one), _by_path(other)
    found = {}
    for path in sorted({*before, *now}):
        if path not in now:
            found[path] = ONLY_BEFORE
        elif path not in before:
            found[path] = ONLY_NOW
        elif before[path] != now[path]:
            keys = dict.fromkeys([*before[path], *now[path]])
            words = [key for key in keys if before[path].get(key) != now[path].get(key)]
            found[path] = ", ".join(words)
    return found


def _by_path(values: Mapping[int, Any]) -> dict[str, dict[str, Any]]:
    directories, names = values.get(_DIRNAMES, []), values.get(_BASENAMES, [])
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names):
        index = values.get(_DIRINDEXES, [])[number : number + 1]
        place = directories[index[0]] if index and index[0] < len(directories) else ""
        about = {
            word: values[tag][number]
            for tag, word in _OF_FILES.items()
            if number < len(values.get(tag, ()))
        }
        if stat.S_ISDIR(about.get("mode", 0)):
            about.pop("size", None)  # of a directory it is that of the machine's file system
        found[place + name] = about
    return found


def _text(value: Any) -> str:
    if value is None:
        return "(none)"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = "".join(one if one.isprintable() else " " for one in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
