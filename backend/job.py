"""The tasks that a frontend hands out to be built, parsed at the door.

Sources of the fields: `get-build-task/` and `get-srpm-build-task/` of the frontend's backend
namespace; `backend.pending` is what lists of tasks say. Past them nobody looks into raw JSON.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from backend.chroot import Chroot
from backend.constants import SRPM_CHROOT, Source
from backend.exceptions import ProtocolError
from backend.taskfields import directory_name, get, strings


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


def _modules(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """`{"toggle": [{"enable": "m:s"}, …]}` as lines `enable m:s`."""
    lines = []
    for entry in get(get(raw, "modules", dict, {}), "toggle", list, []):
        if not isinstance(entry, dict) or set(entry) - {"enable", "disable"}:
            raise ProtocolError(f"task {raw.get('task_id', '?')!r}: bad 'modules': {entry!r}")
        lines += [f"{what} {name}" for what, name in entry.items()]
    return tuple(lines)


def _common(raw: Mapping[str, Any]) -> dict[str, Any]:
    repos = get(raw, "repos", list, [])
    if not all(isinstance(repo, dict) for repo in repos):
        raise ProtocolError(f"task {raw.get('task_id', '?')!r}: 'repos' must hold objects")
    return {
        "task_id": get(raw, "task_id", str),
        "build_id": get(raw, "build_id", int),
        "owner": directory_name(raw, "project_owner"),
        "project": directory_name(raw, "project_name"),
        "dirname": directory_name(raw, "project_dirname"),
        "submitter": get(raw, "submitter", str, None),
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
        number = get(raw, "source_type", int)
        try:
            source = json.loads(get(raw, "source_json", str))
            kind = Source(number)
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"task {raw.get('task_id')!r}: bad source: {error}") from error
        if not isinstance(source, dict):
            raise ProtocolError(f"task {raw.get('task_id')!r}: 'source_json' is no JSON object")
        wanted = strings(raw, "distributions_in_build")
        return cls(
            **_common(raw),
            source_type=kind,
            source=source,
            distributions=tuple(
                dict.fromkeys((*wanted, *strings(raw, "distributions_in_project")))
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
        timeout = get(raw, "timeout", int, 18000)
        if timeout <= 0:
            raise ProtocolError(f"task {raw.get('task_id')!r}: 'timeout' is {timeout} seconds")
        return cls(
            **_common(raw),
            chroot=Chroot.parse(get(raw, "chroot", str)),
            package=directory_name(raw, "package_name"),
            version=get(raw, "package_version", str, None),
            timeout=timeout,
            git_repo=get(raw, "git_repo", str, None),
            git_hash=get(raw, "git_hash", str, None),
            srpm_url=get(raw, "srpm_url", str, None),
            rpm_url=get(raw, "rpm_url", str, None),
            submitted_on=get(raw, "submitted_on", int, 0),
            enable_net=get(raw, "enable_net", bool, False),
            isolation=get(raw, "isolation", str, "default"),
            buildroot_pkgs=strings(raw, "buildroot_pkgs"),
            with_opts=strings(raw, "with_opts"),
            without_opts=strings(raw, "without_opts"),
            devel=get(raw, "uses_devel_repo", bool, False),
            modules=_modules(raw),
            bootstrap=get(raw, "bootstrap", str, ""),
            bootstrap_image=get(raw, "bootstrap_image", str, ""),
            memory=get(raw, "memory_reqs", int, 0),
            fedora_review=get(raw, "fedora_review", bool, False),
            appstream=get(raw, "appstream", bool, False),
            user_ssh=bool(get(raw, "ssh_public_keys", str, "")),
            storage=get(raw, "storage", int, 0),
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
