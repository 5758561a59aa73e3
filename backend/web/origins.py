"""Where a build's source comes from: what users send, checked, as the columns of a build.

The rules for values are those of the backend, which checks them again: here users learn of a
mistake at once.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from backend.config import Config
from backend.constants import Source
from backend.web import names
from backend.web.errors import ApiError

Fields = dict[str, Any]
_TEXT = 4000
_SCRIPT = 512 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
METHODS = ("rpkg", "tito", "tito_test", "make_srpm")
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "scm_type": ("git", "svn"),
    "source_build_method": METHODS,
    "spec_generator": ("pyp2spec", "pyp2rpm"),
}
_TEXTS = (
    *("clone_url", "committish", "subdirectory", "spec", "pypi_package_name"),
    *("pypi_package_version", "spec_template", "gem_name", "distgit", "namespace"),
)
_SCHEMES = {"git": ("http", "https", "git"), "svn": ("http", "https", "svn")}


def text(body: Mapping[str, Any], field: str, default: str = "", most: int = _TEXT) -> str:
    """A text; null or nothing means the default."""
    value = body.get(field)
    if value is None:
        return default
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise ApiError(400, f"{field}: must be text of at most {most} characters")
    return value


def _needed(body: Mapping[str, Any], field: str) -> str:
    value = text(body, field).strip()
    if not value:
        raise ApiError(400, f"{field}: This field is required.")
    return value


def _name(body: Mapping[str, Any], field: str) -> str:
    value = _needed(body, field)
    if not _NAME.fullmatch(value):
        raise ApiError(400, f"{field}: {value[:100]!r} is no name of a package")
    return value


def _choice(body: Mapping[str, Any], field: str) -> str:
    choices = _CHOICES[field]
    value = text(body, field) or choices[0]
    if value not in choices:
        raise ApiError(400, f"{field}: must be one of {', '.join(choices)}")
    return value


def url(value: str, field: str, schemes: tuple[str, ...] = ("http", "https")) -> str:
    """An address with one of the schemes and a host."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and parts.hostname
    except ValueError:
        good = None
    if not good or not value.isprintable() or " " in value:
        raise ApiError(400, f"{field}: {value[:200]!r} is no {' or '.join(schemes)} address")
    return value


def _scm(body: Mapping[str, Any], _: Config) -> Fields:
    kind = _choice(body, "scm_type")
    return {
        "type": kind,
        "clone_url": url(_needed(body, "clone_url"), "clone_url", _SCHEMES[kind]),
        "committish": text(body, "committish").strip(),
        "subdirectory": text(body, "subdirectory").strip(),
        "spec": text(body, "spec").strip(),
        "srpm_build_method": _choice(body, "source_build_method"),
    }


def _pypi(body: Mapping[str, Any], _: Config) -> Fields:
    versions = body.get("python_versions")
    if versions is None:
        versions = [3, 2]
    numbers = [str(version) for version in versions] if isinstance(versions, list) else ["?"]
    if not all(re.fullmatch(r"[0-9]{1,2}(\.[0-9]{1,3})?", number) for number in numbers):
        raise ApiError(400, "python_versions: must be a list of versions, e.g. [3]")
    version = text(body, "pypi_package_version").strip()
    return {
        "pypi_package_name": _name(body, "pypi_package_name"),
        "pypi_package_version": version or None,
        "spec_generator": _choice(body, "spec_generator"),
        "spec_template": text(body, "spec_template").strip(),
        "python_versions": numbers,
    }


def _rubygems(body: Mapping[str, Any], _: Config) -> Fields:
    return {"gem_name": _name(body, "gem_name")}


def _custom(body: Mapping[str, Any], _: Config) -> Fields:
    def either(field: str, most: int = _TEXT) -> str:
        """A package's fields have a prefix that those of a build lack."""
        for name in (field, f"script_{field}"):
            value = body.get(name)
            if isinstance(value, list):
                return " ".join(names.strings(value, name))[:most]
            if value:
                return text(body, name, most=most)
        return ""

    script = text(body, "script", most=_SCRIPT)
    if not script.strip():
        raise ApiError(400, "script: This field is required.")
    repos = either("repos")
    names.repos(repos.split(), "repos")
    return {
        "script": script,
        "chroot": names.chroot(either("chroot").strip(), "chroot") or None,
        "builddeps": either("builddeps").strip(),
        "resultdir": either("resultdir").strip(),
        "repos": repos,
    }


def _distgit(body: Mapping[str, Any], config: Config) -> Fields:
    places = dict(entry.partition("=")[::2] for entry in config.web_distgit)
    place = text(body, "distgit").strip() or next(iter(places), "")
    if place not in places:
        known = ", ".join(places) or "none (web.distgit)"
        raise ApiError(400, f"distgit: {place[:100]!r} is not known here: {known}")
    namespace = text(body, "namespace").strip().strip("/") or "rpms"
    if (
        not re.fullmatch(r"@?[A-Za-z0-9_.+-]+(/@?[A-Za-z0-9_.+-]+)*", namespace)
        or ".." in namespace
    ):
        raise ApiError(400, f"namespace: {namespace[:100]!r} is none")
    package = _name(body, "package_name")
    address = places[place].replace("{namespace}", namespace).replace("{package}", package)
    source = {"clone_url": address, "distgit": place}
    committish = text(body, "committish").strip()
    if body.get("namespace"):
        source["namespace"] = namespace
    return source | ({"committish": committish} if committish else {})


_KINDS: Mapping[str, tuple[Source, Callable[[Mapping[str, Any], Config], Fields]]] = {
    "scm": (Source.SCM, _scm),
    "pypi": (Source.PYPI, _pypi),
    "rubygems": (Source.RUBYGEMS, _rubygems),
    "custom": (Source.CUSTOM, _custom),
    "distgit": (Source.DISTGIT, _distgit),
}
KINDS = tuple(_KINDS)


def source(kind: str, body: Mapping[str, Any], config: Config) -> tuple[Source, Fields]:
    """`source_type` and `source` of a build or package; raises ApiError naming the bad field."""
    if kind not in _KINDS:
        raise ApiError(400, f"source_type: {kind[:100]!r} is none of {', '.join(_KINDS)}")
    number, read = _KINDS[kind]
    _check_all(body)
    return number, read(body, config)


def _check_all(body: Mapping[str, Any]) -> None:
    """Fields of other kinds are not used, but what they are is no secret: nonsense is refused."""
    for field in _TEXTS:
        text(body, field)
    for field in _CHOICES:
        _choice(body, field)
    text(body, "script", most=_SCRIPT)
    versions = body.get("python_versions")
    if versions is not None and not isinstance(versions, list):
        raise ApiError(400, "python_versions: must be a list of versions, e.g. [3]")


#: Names that API v3 has for fields of `source`, where they differ.
_SHOWN = {"srpm_build_method": "source_build_method"}


def shown(fields: Mapping[str, Any]) -> Fields:
    """`source_dict` as API v3 shows it."""
    return {_SHOWN.get(key, key): value for key, value in fields.items()}


def merged(kind: str, old: Mapping[str, Any], body: Mapping[str, Any]) -> Fields:
    """What `source` is to read for a package that is edited: what is null stays as it was."""
    before = shown(old)
    if kind == "scm" and "type" in before:
        before["scm_type"] = before.pop("type")
    prefixed = {"chroot", "builddeps", "resultdir", "repos"} if kind == "custom" else set()
    before = {f"script_{k}" if k in prefixed else k: v for k, v in before.items()}
    return before | {key: value for key, value in body.items() if value is not None}
