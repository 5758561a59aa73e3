"""Describes ordinary packages in createrepo_c's very words, without starting it.

Starting it takes longer than all the rest of publishing a build. Whatever is unusual in a
package (`facts.Odd`) is left to it, and so is everything that is made anew; tests hold both
against each other, and `repo check` does.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend.repo import facts
from backend.repo.chunks import Package
from backend.repo.facts import DEPENDENCIES, Facts, Odd

#: So many packages are described faster here than by starting a program.
FEW = 24
_CHANGES = 10
_PATH = re.compile(r"[A-Za-z0-9._+~^/-]+")
_COMPARISONS = {0: "", 2: "LT", 4: "GT", 8: "EQ", 10: "LE", 12: "GE"}
#: Of requirements: needed before and after a package's own scripts; before and after the whole
#: transaction (of which versions of createrepo_c think differently); not needed at all (likewise).
_SCRIPTS, _TRANSACTION, _MISSING_OK = 1 << 6 | 1 << 9 | 1 << 10, 1 << 5 | 1 << 7, 1 << 19
_LIBC = "libc.so.6"
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_QUOTED = re.compile('[&<>"\t\n]|[^\\x00-\\x7f]')
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def package(repo: Path, path: str, baseurl: str = "") -> Package:
    """The package at `path` (relative to `repo`). Raises Odd, or OSError."""
    if not _PATH.fullmatch(path):
        raise Odd("its path is unusual")
    found = facts.read(repo / path)
    texts = ("".join(_primary(found, path, baseurl)), "".join(_filelists(found)), _other(found))
    return Package(path=path, digest=found.digest, texts=tuple(text.encode() for text in texts))


def _primary(it: Facts, path: str, baseurl: str) -> Iterator[str]:
    text = it.texts
    yield '<package type="rpm">\n'
    yield f"  <name>{_escape(text['name'])}</name>\n  <arch>{_escape(it.arch)}</arch>\n"
    yield f"  {_version(it)}\n"
    yield f'  <checksum type="sha256" pkgid="YES">{it.digest}</checksum>\n'
    for key in ("summary", "description", "packager", "url"):
        yield f"  <{key}>{_escape(text[key])}</{key}>\n"
    yield f'  <time file="{it.time}" build="{it.built}"/>\n'
    yield f'  <size package="{it.size}" installed="{it.installed}" archive="{it.archive}"/>\n'
    base = f'xml:base="{_quote(baseurl)}" ' if baseurl else ""
    yield f'  <location {base}href="{path}"/>\n'
    yield "  <format>\n"
    for key in ("license", "vendor", "group", "buildhost", "sourcerpm"):
        yield f"    <rpm:{key}>{_escape(text[key])}</rpm:{key}>\n"
    yield f'    <rpm:header-range start="{it.header[0]}" end="{it.header[1]}"/>\n'
    for kind in DEPENDENCIES:
        needed = _required(it) if kind == "requires" else _plain(it.dependencies[kind])
        if needed:
            yield f"    <rpm:{kind}>\n{''.join(needed)}    </rpm:{kind}>\n"
    for name, what in it.files:
        if _is_primary(name):
            yield f"    {_file(name, what)}\n"
    yield "  </format>\n</package>\n"


def _filelists(it: Facts) -> Iterator[str]:
    yield _begin(it)
    yield from (f"  {_file(name, what)}\n" for name, what in it.files)
    yield "</package>\n"


def _other(it: Facts) -> str:
    lines = [_begin(it)]
    for when, author, text in _changes(it.changelog):
        lines.append(
            f'  <changelog author="{_quote(author)}" date="{when}">{_escape(text)}</changelog>\n'
        )
    return "".join([*lines, "</package>\n"])


def _begin(it: Facts) -> str:
    name, arch = _quote(it.texts["name"]), _quote(it.arch)
    return f'<package pkgid="{it.digest}" name="{name}" arch="{arch}">\n  {_version(it)}\n'


def _version(it: Facts) -> str:
    version, release = _quote(it.texts["version"]), _quote(it.texts["release"])
    return f'<version epoch="{it.epoch}" ver="{version}" rel="{release}"/>'


def _file(path: str, kind: str) -> str:
    attribute = f' type="{kind}"' if kind else ""
    return f"<file{attribute}>{_escape(path)}</file>"


def _is_primary(path: str) -> bool:
    """Files that others like to require."""
    return path.startswith("/etc/") or path == "/usr/lib/sendmail" or "bin/" in path


def _changes(log: Sequence[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """The last ones, the oldest first; of those with the same time each is a second later."""
    found: list[tuple[int, str, str]] = []
    last = 0
    for when, author, text in log[:_CHANGES]:
        if when == last:
            later = when
            for number in range(len(found) - 1, -1, -1):
                if found[number][0] != later:
                    break
                later += 1
                found[number] = (later, *found[number][1:])
        last = when
        found.append((when, author.rstrip(" "), text))
    return found[::-1]


# --- dependencies -----------------------------------------------------------------------------


def _plain(needed: Sequence[tuple[str, int, str]]) -> list[str]:
    return [_entry(*each) for each in needed]


def _required(it: Facts) -> list[str]:
    """Not what rpm itself needs, not what the package has or provides, and nothing twice; of
    the versions of libc only the highest, at the end."""
    own = {name for name, _ in it.files if _is_primary(name)}
    provided = {(n, _comparison(f), v) for n, f, v in it.dependencies["provides"]}
    seen: dict[str, tuple[str, str, bool]] = {}
    lines, libc = [], ("", "")
    for name, flags, version in it.dependencies["requires"]:
        if flags & (_TRANSACTION | _MISSING_OK):
            raise Odd("it has a requirement of an unusual kind")
        sense, before = _comparison(flags), bool(flags & _SCRIPTS)
        if name.startswith("rpmlib(") or name in own or (name, sense, version) in provided:
            continue
        if seen.get(name) == (sense, version, before):
            continue
        line = _entry(name, flags, version, ' pre="1"' if before else "")
        if name.startswith(_LIBC):
            if not libc[0] or _older(libc[0], name):
                libc = name, line
            continue
        seen[name] = (sense, version, before)
        lines.append(line)
    return [*lines, libc[1]] if libc[0] else lines


def _comparison(flags: int) -> str:
    try:
        return _COMPARISONS[flags & 0xF]
    except KeyError:
        raise Odd("it compares versions in an unusual way") from None


def _entry(name: str, flags: int, version: str, more: str = "") -> str:
    compared = _comparison(flags)
    if compared and not version:
        raise Odd("it compares with no version")
    found = [f'      <rpm:entry name="{_quote(name)}"']
    epoch, colon, rest = version.rpartition(":")
    if colon and not (epoch.isascii() and epoch.isdigit()):
        raise Odd("it compares with an unusual version")
    if compared:
        number, _, release = rest.partition("-")
        if not number:
            raise Odd("it compares with no version")
        found.append(f' flags="{compared}" epoch="{epoch or 0}" ver="{_quote(number)}"')
        if release:
            found.append(f' rel="{_quote(release)}"')
    return "".join([*found, more, "/>\n"])


_LIBC_FORM = re.compile(
    r"libc\.so\.6(?:\((?P<word>[A-Za-z_]*)(?P<version>(?:[0-9]+(?:\.[0-9]+)*)?)\)(?:\(64bit\))?)?"
)


def _older(one: str, other: str) -> bool:
    """Of two requirements of libc.so.6(…)…: the first asks for the older version."""
    return _libc_version(one) < _libc_version(other)


def _libc_version(name: str) -> tuple[int, ...]:
    """Ordered as their versions; before those come names without one."""
    found = _LIBC_FORM.fullmatch(name)
    if not found:
        raise Odd("it requires an unusual libc")
    if found["version"]:
        return (3, *map(int, found["version"].split(".")))
    return (0,) if found["word"] is None else (1,) if not found["word"] else (2,)


# --- XML --------------------------------------------------------------------------------------


def _escape(text: str) -> str:
    return text.translate(_ESCAPED)


def _quote(text: str) -> str:
    """The value of an attribute: with references for all that is not ASCII."""
    return _QUOTED.sub(_reference, text)


def _reference(match: re.Match[str]) -> str:
    char = match[0]
    if char in _REFERENCES:
        return _REFERENCES[char]
    return f"&#{ord(char)};" if char < " " else f"&#x{ord(char):X};"
