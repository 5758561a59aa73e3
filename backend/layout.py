"""Where results live on disk and under which URL: today's Copr layout, nothing else.

    <destdir>/<owner>/<dirname>/<chroot>/<build>-<package>/      RPM build
    <destdir>/<owner>/<dirname>/srpm-builds/<build>/             source build

Pure: joins names that `backend.taskfields` has checked already.
"""

from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from backend.constants import SRPM_CHROOT
from backend.job import Task
from backend.taskfields import component

BUILDER_LOG = "builder-live.log"
BACKEND_LOG = "backend.log"
#: Marks a successful build; holds the word `done`.
SUCCESS = "success"
#: The same of a build that a rollback took out of the repository; another may bring it back.
WITHHELD = "withheld"
RESULTS_JSON = "results.json"
BUILD_INFO = "build.info"
#: In place of the host there: nothing was built. No host can have that name.
UPLOADED = "(uploaded)"
#: Settings of the build root.
CONFIGS = "configs.tar.gz"
#: Of which commit a source package was made, if it was of one.
CHECKOUT = "checkout.json"
#: Where the packages come from, an in-toto statement; with `.asc` its signature.
PROVENANCE = "provenance.intoto.json"
#: What is in the packages, an SPDX document.
SBOM = "sbom.spdx.json"
#: What was taken over from the build, with sizes; format with the eight digits of the build.
TRANSFER_LOG = "build-{number}.rsync.log"
#: Group file of a chroot, from the frontend; createrepo_c reads it.
COMPS = "comps.xml"
#: Directory of a chroot with the metadata of a project that publishes by hand.
DEVEL = "devel"
#: Logs of earlier attempts move here, into one directory per attempt.
PREVIOUS = "prev_build_backup"


class Place(Protocol):
    """Where results belong: a `job.Task`, or what is remembered of one."""

    @property
    def owner(self) -> str:
        """User, or @group."""

    @property
    def dirname(self) -> str:
        """Directory of the project."""

    @property
    def chroot_dir(self) -> str:
        """The chroot, or `srpm-builds`."""

    @property
    def result_dir(self) -> str:
        """Of this one build."""


def publishing(statedir: Path) -> Path:
    """Directory in which those who publish are to be seen, and where it failed."""
    return statedir / "publishing"


def project_path(destdir: Path, task: Place) -> Path:
    """Directory of the project (or of one of its side directories, `name:pr:7`)."""
    return destdir / task.owner / task.dirname


def repo_path(destdir: Path, task: Place) -> Path:
    """The chroot's directory: root of a dnf repository, or `srpm-builds`."""
    return project_path(destdir, task) / task.chroot_dir


def result_path(destdir: Path, task: Place) -> Path:
    """The directory of this one build."""
    return repo_path(destdir, task) / task.result_dir


def local_path(destdir: Path, path: str) -> Path:
    """The directory below `destdir` for the path of a URL below that of the results.

    Raises ProtocolError when one of its parts is no safe name.
    """
    parts = [component(unquote(part), "baseurl") for part in path.strip("/").split("/")]
    return destdir.joinpath(*parts)


def result_url(baseurl: str, task: Place, name: str = "") -> str:
    """URL of the result directory (with its final slash), or of a file in it."""
    parts = (task.owner, task.dirname, task.chroot_dir, task.result_dir)
    path = "/".join(quote(part, safe="@:+~^") for part in parts)
    return f"{baseurl.rstrip('/')}/{path}/{quote(name, safe='+~^')}"


def source_path(destdir: Path, task: Task) -> Path:
    """The directory of the source build that an RPM task belongs to."""
    return project_path(destdir, task) / SRPM_CHROOT / f"{task.build_id:08d}"
