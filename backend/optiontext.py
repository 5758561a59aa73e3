"""Reads the text of one option as a value of its kind; the errors name file, key and remedy."""

import os
import re
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backend.chroot import Chroot
from backend.exceptions import ConfigError, ProtocolError
from backend.options import Option

_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_PERIODS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
#: Ten years in seconds: no clock of the system that waits so long overflows.
_LONGEST = 3650 * 86400
_TRUE, _FALSE = {"1", "yes", "true", "on"}, {"0", "no", "false", "off"}


def convert(path: Path, option: Option, key: str, text: str) -> Any:
    """The value that `text` stands for, as `key` of the file at `path`; or ConfigError."""
    text = text.strip()
    shown = "…" if option.kind == "secret" else " ".join(text.split())[:200]
    where = f"{path}: [{option.section}] {key} = {shown}"
    _legible(path, option, key, text)
    if option.kind == "period":
        text = _seconds(where, text)
    if option.kind in ("int", "seconds", "bytes", "period"):
        if not text and not option.default:
            # Only max_workers and min_free have no fixed default.
            return None if option.kind == "bytes" else os.cpu_count() or 1
        return _number(option, where, text)
    if option.kind == "bool":
        return _truth(where, text)
    if option.kind == "path":
        return _path(option, where, text)
    if option.kind in _LISTS:
        return _LISTS[option.kind](where, tuple(text.replace(",", " ").split()))
    if option.kind == "class" and _CLASS.fullmatch(text):
        return text
    if option.choices and text not in option.choices:
        own = " or package.module:Class" if option.kind == "class" else ""
        raise ConfigError(f"{where}: must be one of {', '.join(option.choices)}{own}")
    return text


def _legible(path: Path, option: Option, key: str, text: str) -> None:
    where = f"{path}: [{option.section}] {key}"
    if "\n" in text or "\0" in text:
        shown = "…" if option.kind == "secret" else " ".join(text.split())[:200]
        raise ConfigError(f"{where} = {shown}: write it in one line")
    if option.kind != "secret":
        for sign in text.replace("\t", " "):
            if not sign.isprintable():
                raise ConfigError(f"{where} has a character that nobody sees, {sign!a}: remove it")


def _truth(where: str, text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ConfigError(f"{where}: write yes or no")
    return text.lower() in _TRUE


def _path(option: Option, where: str, text: str) -> Path | str:
    if not text and not option.default:
        return ""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not path.is_absolute():
        raise ConfigError(f"{where}: give an absolute path")
    return path


def _paths(where: str, words: tuple[str, ...]) -> Mapping[str, Path]:
    found = {}
    for part in words:
        name, _, path = part.partition("=")
        try:
            Chroot.parse(name)
        except ProtocolError as error:
            raise ConfigError(f"{where}: {error}") from error
        if not path.startswith("/"):
            raise ConfigError(f"{where}: {part!r}: write CHROOT=/ABSOLUTE/PATH")
        found[name] = Path(path)
    return MappingProxyType(found)


def _limits(where: str, words: tuple[str, ...]) -> Mapping[str, int]:
    found = {}
    for part in words:
        name, eq, number = part.partition("=")
        if not name or not eq or not re.fullmatch(r"[0-9]{1,6}", number):
            raise ConfigError(f"{where}: {part!r} is no limit: write NAME=NUMBER,NAME=NUMBER")
        found[name] = int(number)
    return MappingProxyType(found)


def _dates(where: str, words: tuple[str, ...]) -> Mapping[str, date]:
    found = {}
    for part in words:
        name, _, day = part.partition("=")
        try:
            found[name] = date.fromisoformat(day)
        except ValueError:
            name = ""
        if not name:
            raise ConfigError(f"{where}: {part!r} is no end: write NAME=2024-11-26") from None
    return MappingProxyType(found)


def _words(_where: str, words: tuple[str, ...]) -> tuple[str, ...]:
    return words


#: What is written as words with spaces or commas between them.
_LISTS: Mapping[str, Callable[[str, tuple[str, ...]], Any]] = {
    "words": _words,
    "limits": _limits,
    "dates": _dates,
    "paths": _paths,
}


def _seconds(where: str, text: str) -> str:
    match = re.fullmatch(r"([0-9]{1,9})\s*([smhd]?)", text)
    if not match:
        raise ConfigError(f"{where}: write seconds, or e.g. 30m, 12h, 1d")
    return str(int(match.group(1)) * _PERIODS[match.group(2)])


def _number(option: Option, where: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18})\s*([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if not match or (match.group(2) and option.kind != "bytes"):
        example = "e.g. 512M" if option.kind == "bytes" else "a whole number is needed"
        raise ConfigError(f"{where}: {example}")
    number = int(match.group(1)) * _UNITS[match.group(2).upper()]
    if option.minimum is not None and number < option.minimum:
        raise ConfigError(f"{where}: must be at least {option.minimum}")
    most = _LONGEST if option.maximum is None and option.kind == "seconds" else option.maximum
    if most is not None and number > most:
        raise ConfigError(f"{where}: must be at most {most}")
    return number
