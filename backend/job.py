"""The tasks that a frontend hands out, parsed at the door.

Sources of the fields: `pending-jobs/`, `get-build-task/` and `get-srpm-build-task/` of the
frontend's backend namespace. Past this module nobody looks into raw JSON.
"""

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from backend.chroot import Chroot
from backend.constants import SRPM_CHROOT, Source
from backend.exceptions import ProtocolError

_TASK_ID = re.compile(r"([0-9]{1,18})(?:-(.+))?")
#: A single path component that is harmless in paths, URLs and HTML alike.
_COMPONENT = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9._+:^~-]*")


def _get(raw: Mapping[str, Any], name: str, kind: type, default: Any = ...) -> Any:
    value = raw.get(name, default)
    if value is ... or (value is None and default is ...):
        raise ProtocolError(f"task {raw.get('task_id', '?')!r}: field {name!r} is missing")
    if value is None or value is default:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ProtocolError(
            f"task {raw.get('task_id', '?')!r}: field {name!r} is {type(value).__name__},"
            f" expected {kind.__name__}"
        )
    return value


def component(value: object, name: str) -> str:
    """`value` if it may name a directory; raises ProtocolError that mentions field `name`."""
    text = value if isinstance(value, str) else ""
    if not _COMPONENT.fullmatch(text) or ".." in text or len(text) > 200:
        raise ProtocolError(f"field {name!r} is {str(value)[:80]!r}: no safe path component")
    return text


def _component(raw: Mapping[str, Any], name: str) -> str:
    return component(_get(raw, name, str), name)


def _strings(raw: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = _get(raw, name, list, [])
    if not all(isinstance(value, str) for value in values):
        raise ProtocolError(f"task {raw.get('task_id', '?')!r}: {name!r} must hold strings")
    return tuple(values)


def _modules(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """`{"toggle": [{"enable": "m:s"}, …]}` as lines `enable m:s`."""
    lines = []
    for entry in _get(_get(raw, "modules", dict, {}), "toggle", list, []):
        if not isinstance(entry, dict) or set(entry) - {"enable", "disable"}:
            raise ProtocolError(f"task {raw.get('task_id', '?')!r}: bad 'modules': {entry!r}")
        lines += [f"{what} {name}" for what, name in entry.items()]
    return tuple(lines)


def split_task_id(task_id: str) -> tuple[int, Chroot | None]:
    """`"7"` is the source build 7; `"7-fedora-41-x86_64"` is its build for that chroot."""
    match = _TASK_ID.fullmatch(task_id)
    if not match:
        raise ProtocolError(f"{task_id[:80]!r} is no task id: expected <build> or <build>-<chroot>")
    chroot = match.group(2)
    return int(match.group(1)), Chroot.parse(chroot) if chroot else None


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingTask:
    """One record of `pending-jobs/`: enough to decide what runs next, and where.

    Derived once, because the scheduler looks at them very often: `is_source` (it produces the
    source package), `arch` (what must build it, None means any), `limit_arch` (under which it
    counts: i?86 is x86_64, as in Copr), `priority` (smaller first: source, RPM, background
    source, background RPM), `lane` (tasks with the same one are alike for every limit) and
    `age` (smaller is older).
    """

    task_id: str
    build_id: int
    owner: str
    sandbox: str
    background: bool
    chroot: str | None
    tags: tuple[str, ...] = ()
    blocked_by: str = ""
    is_source: bool = field(init=False, repr=False, compare=False)
    arch: str | None = field(init=False, repr=False, compare=False)
    limit_arch: str | None = field(init=False, repr=False, compare=False)
    priority: int = field(init=False, repr=False, compare=False)
    lane: str = field(init=False, repr=False, compare=False)
    age: tuple[int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        source = self.task_id == str(self.build_id)
        arch = self.chroot.rpartition("-")[2] if self.chroot else None
        lane = "\0".join((self.owner, str(arch), self.sandbox, self.blocked_by, *self.tags))
        derived = {
            "is_source": source,
            "arch": arch and sys.intern(arch),
            "limit_arch": "x86_64" if arch and arch.endswith("86") else arch,
            "priority": 2 * self.background + (not source),
            "owner": sys.intern(self.owner),  # few different ones, and compared all the time
            "lane": sys.intern(lane),
            "age": (self.build_id, self.task_id),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_record(cls, raw: Mapping[str, Any]) -> Self:
        """Check one record; raises ProtocolError naming the bad field.

        `blocked_by` is our own, optional: why the frontend does not want it started yet.
        """
        task_id = _get(raw, "task_id", str)
        build_id, chroot = split_task_id(task_id)
        if _get(raw, "build_id", int) != build_id:
            raise ProtocolError(f"task {task_id!r}: field 'build_id' contradicts the task id")
        named = _get(raw, "chroot", str, None)
        if chroot is None and named is not None:
            chroot = Chroot.parse(named)
        return cls(
            task_id=task_id,
            build_id=build_id,
            owner=_get(raw, "project_owner", str),
            sandbox=_get(raw, "sandbox", str, ""),
            background=_get(raw, "background", bool, False),
            chroot=str(chroot) if chroot else None,
            tags=_strings(raw, "tags"),
            blocked_by=_get(raw, "blocked_by", str, ""),
        )

    @property
    def kind(self) -> str:
        """Under which its duration is remembered: `source`, or the architecture."""
        return "source" if self.is_source else self.arch or "rpm"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What source and RPM tasks share: whose it is, and where its results belong."""

    task_id: str
    build_id: int
    owner: str
    project: str
    dirname: str
    submitter: str | None = None
    repos: tuple[Mapping[str, Any], ...] = ()

    @property
    def chroot_dir(self) -> str:
        """Name of the directory below the project that holds the result directory."""
        raise NotImplementedError

    @property
    def result_dir(self) -> str:
        """Name of the result directory, as every update must repeat it."""
        raise NotImplementedError


def _common(raw: Mapping[str, Any]) -> dict[str, Any]:
    repos = _get(raw, "repos", list, [])
    if not all(isinstance(repo, dict) for repo in repos):
        raise ProtocolError(f"task {raw.get('task_id', '?')!r}: 'repos' must hold objects")
    return {
        "task_id": _get(raw, "task_id", str),
        "build_id": _get(raw, "build_id", int),
        "owner": _component(raw, "project_owner"),
        "project": _component(raw, "project_name"),
        "dirname": _component(raw, "project_dirname"),
        "submitter": _get(raw, "submitter", str, None),
        "repos": tuple(repos),
    }


@dataclass(frozen=True, kw_only=True)
class SourceTask(Task):
    """A source build (`get-srpm-build-task/`): make or fetch the source package."""

    source_type: Source
    source: Mapping[str, Any]
    distributions: tuple[str, ...] = ()

    @classmethod
    def from_record(cls, raw: Mapping[str, Any]) -> Self:
        """Check the record; raises ProtocolError naming the bad field."""
        number = _get(raw, "source_type", int)
        try:
            source = json.loads(_get(raw, "source_json", str))
            kind = Source(number)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"task {raw.get('task_id')!r}: bad source: {error}") from error
        if not isinstance(source, dict):
            raise ProtocolError(f"task {raw.get('task_id')!r}: 'source_json' is no JSON object")
        wanted = _strings(raw, "distributions_in_build")
        return cls(
            **_common(raw),
            source_type=kind,
            source=source,
            distributions=tuple(
                dict.fromkeys((*wanted, *_strings(raw, "distributions_in_project")))
            ),
        )

    @property
    def chroot_dir(self) -> str:
        """Source builds live beside the chroots."""
        return SRPM_CHROOT

    @property
    def result_dir(self) -> str:
        """The build id in eight digits."""
        return f"{self.build_id:08d}"


@dataclass(frozen=True, kw_only=True)
class RpmTask(Task):
    """An RPM build for one chroot (`get-build-task/`).

    Either `git_repo` and `git_hash` name the sources (a real Copr frontend), or `srpm_url`
    does (the embedded frontend, which needs no dist-git). With `rpm_url`, its own too, nothing
    is to be built: it names a binary package that somebody has uploaded.
    """

    chroot: Chroot
    package: str
    version: str | None
    timeout: int
    git_repo: str | None = None
    git_hash: str | None = None
    srpm_url: str | None = None
    rpm_url: str | None = None
    submitted_on: int = 0
    enable_net: bool = False
    isolation: str = "default"
    buildroot_pkgs: tuple[str, ...] = ()
    with_opts: tuple[str, ...] = ()
    without_opts: tuple[str, ...] = ()
    devel: bool = False
    modules: tuple[str, ...] = ()
    bootstrap: str = ""
    bootstrap_image: str = ""
    memory: int = 0
    fedora_review: bool = False
    appstream: bool = False
    user_ssh: bool = False
    storage: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_record(cls, raw: Mapping[str, Any]) -> Self:
        """Check the record; raises ProtocolError naming the bad field."""
        timeout = _get(raw, "timeout", int, 18000)
        if timeout <= 0:
            raise ProtocolError(f"task {raw.get('task_id')!r}: 'timeout' is {timeout} seconds")
        return cls(
            **_common(raw),
            chroot=Chroot.parse(_get(raw, "chroot", str)),
            package=_component(raw, "package_name"),
            version=_get(raw, "package_version", str, None),
            timeout=timeout,
            git_repo=_get(raw, "git_repo", str, None),
            git_hash=_get(raw, "git_hash", str, None),
            srpm_url=_get(raw, "srpm_url", str, None),
            rpm_url=_get(raw, "rpm_url", str, None),
            submitted_on=_get(raw, "submitted_on", int, 0),
            enable_net=_get(raw, "enable_net", bool, False),
            isolation=_get(raw, "isolation", str, "default"),
            buildroot_pkgs=_strings(raw, "buildroot_pkgs"),
            with_opts=_strings(raw, "with_opts"),
            without_opts=_strings(raw, "without_opts"),
            devel=_get(raw, "uses_devel_repo", bool, False),
            modules=_modules(raw),
            bootstrap=_get(raw, "bootstrap", str, ""),
            bootstrap_image=_get(raw, "bootstrap_image", str, ""),
            memory=_get(raw, "memory_reqs", int, 0),
            fedora_review=_get(raw, "fedora_review", bool, False),
            appstream=_get(raw, "appstream", bool, False),
            user_ssh=bool(_get(raw, "ssh_public_keys", str, "")),
            storage=_get(raw, "storage", int, 0),
            raw=raw,
        )

    @property
    def chroot_dir(self) -> str:
        """Named after the chroot."""
        return str(self.chroot)

    @property
    def result_dir(self) -> str:
        """The build id in eight digits, then the package's name."""
        return f"{self.build_id:08d}-{self.package}"

    @property
    def identity(self) -> str:
        """A word for what is to be built. A frontend whose database was restored may give the
        number of this task to another one, but not this word; empty: nobody can tell."""
        if self.git_repo and self.git_hash:
            sources = f"{self.git_repo} {self.git_hash}"
        elif (url := self.srpm_url or self.rpm_url) and self.submitted_on:
            sources = f"{url} {self.submitted_on}"
        else:
            return ""
        return hashlib.sha256(f"{self.task_id} {sources}".encode()).hexdigest()[:32]
