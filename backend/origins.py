"""Source tasks of every type: what the user named becomes one source package, in the sandbox.

The network is there only where a type fetches something itself. Every value that the user wrote
is checked here, and reaches a shell only as an argument.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from backend import distgit, recipes
from backend.builders import script
from backend.builders.script import Room, Script
from backend.checkout import Checkout
from backend.constants import Source
from backend.exceptions import BuildError, FrontendError, Unreachable
from backend.job import SourceTask
from backend.sources import download

_NO_TOOL = 85
_MISSING = re.compile(r"error: (\w+) is not installed")
_PART = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9._+~@:=,-]*")
_REFERENCE = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9._/+@{}^~-]*")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@/-]*")
_MAX_SMALL = 64 * 1024**2


def is_made_here(task: SourceTask) -> bool:
    """False for a link to, or an upload of, a source package: that is only fetched."""
    if task.source_type is Source.LINK:
        return _file_name(task.source.get("url")).endswith(".spec")
    return task.source_type is not Source.UPLOAD


@dataclass(frozen=True, kw_only=True)
class Made:
    """A source package, and the commit that it was made from, if it was of one."""

    srpm: Path
    checkout: Checkout | None = None


def source_package(task: SourceTask, room: Room, frontend_url: str) -> Made:
    """Make the source package; raises BuildError with one clear line."""
    if task.source_type is Source.SCM:
        return _scm(task.source, room)
    if task.source_type is Source.DISTGIT:
        return _distgit(task.source, room)
    return Made(srpm=_other(task, room, frontend_url))


def _other(task: SourceTask, room: Room, frontend_url: str) -> Path:
    source = task.source
    if task.source_type is Source.LINK:
        return _spec(str(source.get("url")), room)
    if task.source_type is Source.PYPI:
        return _pypi(source, room)
    if task.source_type is Source.RUBYGEMS:
        return _make(room, "gem2rpm", recipes.GEM2RPM, [_name(source, "gem_name")])
    if task.source_type is Source.CUSTOM:
        return _custom(task, room, frontend_url)
    raise BuildError("the build names no source: submit it again")


def _file_name(url: object) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2] if isinstance(url, str) else ""


def _make(room: Room, what: str, text: str, args: Sequence[str] = (), *, net: bool = True) -> Path:
    _run(room, what, text, args, net=net)
    return script.source_package(room)


def _run(room: Room, what: str, text: str, args: Sequence[str] = (), *, net: bool = True) -> None:
    wanted = Script(what=what, text=recipes.PRELUDE + text, args=tuple(args), net=net)
    outcome = script.run(room, wanted)
    if outcome.code == _NO_TOOL:
        match = _MISSING.search(f"error: {outcome.line}")
        tool = recipes.TOOLS.get(match.group(1)) if match else None
        raise BuildError(tool.remedy if tool else outcome.line)
    if outcome.code:
        raise BuildError(f"{what}: {outcome.line}")


# --- checks -------------------------------------------------------------------------------


def _text(source: Mapping[str, Any], key: str) -> str:
    value = source.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > 4000 or "\0" in value:
        raise BuildError(f"{key} is {str(value)[:80]!r}: not usable")
    return value.strip()


def _path(source: Mapping[str, Any], key: str) -> str:
    """A relative path that stays below where it starts; empty if not given."""
    value = _text(source, key).strip("/")
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if any(part == ".." or not _PART.fullmatch(part) for part in parts):
        raise BuildError(f"{key} is {value[:80]!r}: give a path below the repository")
    return "/".join(parts)


def _name(source: Mapping[str, Any], key: str) -> str:
    value = _text(source, key)
    if not _NAME.fullmatch(value):
        raise BuildError(f"{key} is {value[:80]!r}: no usual name")
    return value


def _reference(source: Mapping[str, Any], default: str) -> str:
    value = _text(source, "committish") or default
    if not _REFERENCE.fullmatch(value) or ".." in value:
        raise BuildError(f"committish is {value[:80]!r}: give a commit, a branch or a tag")
    return value


# --- types --------------------------------------------------------------------------------


def _fetch(url: str, target: Path, room: Room) -> None:
    room.monitor.output(f"Fetching {url}\n".encode())
    try:
        download(url, target, min(_MAX_SMALL, room.config.builder_max_download), room.check)
    except FrontendError as error:
        raise BuildError(f"{error}: check the address, or submit again later") from error
    target.chmod(0o644)


def _spec(url: str, room: Room) -> Path:
    if urlsplit(url).scheme not in ("http", "https"):
        raise BuildError(f"{url[:200]!r} is no http:// or https:// address of a spec file")
    name = _file_name(url)
    if not _PART.fullmatch(name) or name.startswith("."):
        raise BuildError(f"{url[:200]!r} names no usual spec file")
    _fetch(url, room.inputs() / name, room)
    return _make(room, name, recipes.SPEC_URL)


def _scm(source: Mapping[str, Any], room: Room) -> Made:
    directory, spec = _path(source, "subdirectory"), _path(source, "spec")
    method = _text(source, "srpm_build_method") or "rpkg"
    texts = {
        "rpkg": (recipes.RPKG, [directory, spec]),
        "tito": (recipes.TITO, [directory, ""]),
        "tito_test": (recipes.TITO, [directory, "--test"]),
        "make_srpm": (recipes.MAKE, [directory, spec]),
    }
    if method not in texts:
        raise BuildError(f"{method[:80]!r} is no way to make a source package: {', '.join(texts)}")
    kind = _text(source, "type") or "git"
    schemes = ("http", "https", kind)
    url = distgit.check_clone_url(source.get("clone_url"), schemes)
    reference = _reference(source, "HEAD")
    if kind == "git":
        checkout = _clone(room, url, reference)
    elif kind == "svn":
        _run(room, f"svn checkout {url}", recipes.SVN, [url, reference])
        checkout = Checkout.of("svn", url, reference, script.note(room, "commit"))
    else:
        raise BuildError(f"{kind[:80]!r} is neither git nor svn")
    text, args = texts[method]
    srpm = _make(room, method, text, args, net=method in ("rpkg", "make_srpm"))
    return Made(srpm=srpm, checkout=checkout)


def _clone(room: Room, url: str, reference: str, *, listed: bool = False) -> Checkout:
    """As for dist-git; but a repository of the user's that cannot be cloned fails the build."""
    try:
        return distgit.clone(room, url, reference, listed=listed)
    except Unreachable as error:
        raise BuildError(f"{error}: check the address, or submit again later") from error


def _distgit(source: Mapping[str, Any], room: Room) -> Made:
    url = distgit.check_clone_url(source.get("clone_url"))
    checkout = _clone(room, url, _reference(source, "HEAD"), listed=True)
    try:
        distgit.fetch_sources(room, url)
    except Unreachable as error:
        raise BuildError(f"{error}: submit again later") from error
    name = urlsplit(url).path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    srpm = distgit.make_srpm(room, "", name if _PART.fullmatch(name) else "")
    return Made(srpm=srpm, checkout=checkout)


def _pypi(source: Mapping[str, Any], room: Room) -> Path:
    name = _name(source, "pypi_package_name")
    version = _name(source, "pypi_package_version") if source.get("pypi_package_version") else ""
    generator = _text(source, "spec_generator") or "pyp2rpm"
    if generator == "pyp2spec":
        return _make(room, generator, recipes.PYP2SPEC, [name, version])
    if generator != "pyp2rpm":
        raise BuildError(f"{generator[:80]!r} is neither pyp2spec nor pyp2rpm")
    template = _name(source, "spec_template") if source.get("spec_template") else ""
    pythons = source.get("python_versions") or []
    if not isinstance(pythons, list) or not all(re.fullmatch(r"[0-9.]+", str(p)) for p in pythons):
        raise BuildError(f"python_versions is {str(pythons)[:80]!r}: give numbers")
    return _make(room, generator, recipes.PYP2RPM, [name, version, template, *map(str, pythons)])


def _custom(task: SourceTask, room: Room, frontend_url: str) -> Path:
    source = task.source
    text = source.get("script")
    if not isinstance(text, str) or not text.strip():
        raise BuildError("the custom source has no script")
    target = room.inputs() / "script"
    target.write_text(text.replace("\r\n", "\n"), encoding="utf-8", errors="replace")
    target.chmod(0o644)
    for key, why in (
        ("builddeps", "the script runs with what is installed on this machine"),
        ("repos", "no repositories are enabled for the script"),
        ("chroot", "the script runs on this machine's own system"),
    ):
        if source.get(key):
            room.monitor.output(f"note: {key} {str(source[key])[:200]}: {why}\n".encode())
    if source.get("hook_data"):
        tmp = _name(source, "tmp")
        url = f"{frontend_url}/tmp/{tmp}/hook_payload"  # noqa: S108  (a path of the frontend)
        _fetch(url, room.inputs() / "hook_payload", room)
    return _make(room, "custom script", recipes.CUSTOM, [_path(source, "resultdir")])
