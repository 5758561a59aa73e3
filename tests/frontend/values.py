"""Rows of the recorded frontend's database, and its numbers."""

from dataclasses import dataclass, field
from typing import Any

FAILED, SUCCEEDED, CANCELED, RUNNING, PENDING, SKIPPED, STARTING, IMPORTING, FORKED, WAITING = (
    *range(10),
)
NAMES = (
    *("failed", "succeeded", "canceled", "running", "pending"),
    *("skipped", "starting", "importing", "forked", "waiting"),
)
ACTIVE = (PENDING, STARTING, RUNNING)
FINISHED = (FAILED, SUCCEEDED, CANCELED, SKIPPED, FORKED)
FIXED = (FAILED, SUCCEEDED, CANCELED)
PACKAGE_KEYS = {"name", "epoch", "version", "release", "arch"}
PRIORITY = {5: -70, 0: 60, 6: 70}


class Broken(Exception):
    """The real frontend answers an HTML page with status 500."""


@dataclass
class Project:
    """`settings` are what tasks repeat: enable_net, isolation, repos, devel …"""

    id: int
    owner: str
    name: str
    chroots: list[str]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class BuildChroot:
    status: int = WAITING
    git_hash: str | None = None
    result_dir: str | None = None
    started_on: int | None = None
    ended_on: int | None = None
    packages: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Build:
    id: int
    project: Project
    dirname: str
    source_type: int
    source: dict[str, Any]
    background: bool = False
    timeout: int = 18000
    status: int = PENDING
    canceled: bool = False
    result_dir: str | None = None
    pkg_name: str | None = None
    pkg_version: str | None = None
    srpm_url: str | None = None
    chroots: dict[str, BuildChroot] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What users see."""
        if self.canceled:
            return "canceled"
        if self.status in (*ACTIVE, IMPORTING, FAILED):
            return NAMES[self.status]
        have = {chroot.status for chroot in self.chroots.values()}
        order = (RUNNING, STARTING, PENDING, FAILED, SUCCEEDED, SKIPPED, FORKED, WAITING)
        return next((NAMES[status] for status in order if status in have), "unknown")


def name_release(chroot: str) -> str:
    return chroot.rpartition("-")[0]


def branch(chroot: str) -> str:
    system, _, version = name_release(chroot).rpartition("-")
    if (system, version) == ("fedora", "rawhide"):
        return "master"
    return f"f{version}" if system == "fedora" else f"{system}{version}"
