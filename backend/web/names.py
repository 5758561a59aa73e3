"""Names that users choose, checked at the door."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from backend.chroot import Chroot
from backend.exceptions import ProtocolError
from backend.web.errors import ApiError

#: As JSON schemas have it.
PROJECT_PATTERN = r"^(?![0-9]+$)(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}$"
_PROJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
_SUFFIX = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+:-]{0,99}")
SRPM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^-]{0,200}\.(no)?src\.rpm")
BINARY_NAME = re.compile(r"(?!.*\.(no)?src\.rpm$)[A-Za-z0-9_][A-Za-z0-9._+~^-]{0,200}\.rpm")


def project_name(name: object) -> str:
    """A name that is harmless in paths, URLs and HTML."""
    if not isinstance(name, str) or not name:
        raise ApiError(400, "name: This field is required.")
    if not _PROJECT.fullmatch(name) or ".." in name or name.isdigit():
        raise ApiError(
            400, "name: Name must contain only letters, digits, underscores, dashes, pluses and"
            " dots, start with a letter or digit, and not be a number."
        )  # fmt: skip
    return name


def package_name(name: str) -> str:
    """A name that a package can have."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}", name) or ".." in name:
        raise ApiError(400, f"package_name: {name[:100]!r} is no name of a package")
    return name


def dirname(value: object, project: str) -> str:
    """The project's own directory, or `<project>:<suffix>`."""
    if value is None or value == project:
        return project
    main, _, suffix = value.partition(":") if isinstance(value, str) else ("", "", "")
    if main != project or not _SUFFIX.fullmatch(suffix) or ".." in suffix:
        raise ApiError(
            400, f"project_dirname: must be {project!r} or {project!r}, a colon and a suffix"
        )
    return str(value)


def chroots(wanted: object, available: Sequence[str], where: str) -> list[str] | None:
    """The named chroots, each once; None when none were named."""
    names = strings(wanted, "chroots")
    if not names:
        return None
    for name in names:
        if name not in available:
            near = difflib.get_close_matches(name, available, n=1)
            hint = f", perhaps {near[0]!r}?" if near else "."
            listed = ", ".join(available) or "none"
            raise ApiError(
                400, f"chroots: {name[:100]!r} is not available{where}{hint} Available: {listed}"
            )
    return list(dict.fromkeys(names))


def strings(value: object, field: str) -> list[str]:
    """A list of strings; null means an empty one."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ApiError(400, f"{field}: must be a list of strings")
    return value


#: A character of a word that others write between quotes: copr-cli's `mock-config` makes a file of
#: such words, which mock executes as Python. No quotes and no backslash, then.
PLAIN = r"[!#-&(-\[\]-_a-~]"


def is_plain(word: object) -> bool:
    """True for such a word."""
    return isinstance(word, str) and bool(re.fullmatch(f"{PLAIN}{{1,2000}}", word))


#: Schemes of a repository that builds may use; `copr` is another project here.
_REPO_SCHEMES = ("http", "https", "ftp", "copr")


def repos(value: object, field: str) -> list[str]:
    """Addresses of repositories for builds, each once."""
    found = strings(value, field)
    for address in found:
        scheme, _, rest = address.partition("://")
        if scheme not in _REPO_SCHEMES or not rest or not is_plain(address):
            raise ApiError(
                400, f"{field}: {address[:200]!r} is no repository: give http, https, ftp or"
                " copr://owner/project, without quotes"
            )  # fmt: skip
    return list(dict.fromkeys(found))


def chroot(name: str, field: str) -> str:
    """The name of a chroot, or nothing."""
    try:
        return str(Chroot.parse(name)) if name else ""
    except ProtocolError as error:
        raise ApiError(400, f"{field}: {error}") from error


def _whole(value: object) -> int | None:
    """An integer, which JSON may also write 1.0."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def builds(value: object) -> list[int]:
    """The field `builds`: a list of build ids."""
    found = [_whole(item) for item in value] if isinstance(value, list) else [None]
    if any(item is None for item in found):
        raise ApiError(400, "builds: must be a list of build ids")
    return [item for item in found if item is not None]


def number(body: Mapping[str, Any], field: str, default: int, least: int, most: int) -> int:
    """An integer within bounds; null or nothing means the default."""
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        value = int(value)
    value = _whole(value)
    if value is None or not least <= value <= most:
        raise ApiError(400, f"{field}: must be a number from {least} to {most}")
    return value


def stored_name(filename: str, pattern: re.Pattern[str] = SRPM_NAME) -> str:
    """The name under which an upload is kept: what is odd in it becomes `_`.

    The package's identity comes from its header, so nothing depends on it. Raises ValueError
    if it is not the name of such a package at all, by default of a source package.
    """
    name = re.sub(r"[^A-Za-z0-9._+~^-]", "_", filename)[-200:]
    if not pattern.fullmatch(name):
        raise ValueError(filename)
    return name
