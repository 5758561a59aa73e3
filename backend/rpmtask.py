"""What an RPM task asks for, handed to the builder or named in the log; where it is published."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from backend import layout, repository
from backend.builders import Builder, BuildRequest, Buildroot, Package
from backend.config import Config
from backend.job import RpmTask
from backend.records import Told
from backend.repository import Manners
from backend.results import ResultDir

_PLAIN = Manners()


def request(
    config: Config, task: RpmTask, *, srpm: Path, workdir: Path, slot: int, deadline: float
) -> BuildRequest:
    """The builder's request; `deadline` is in seconds of the monotonic clock."""
    return BuildRequest(
        srpm=srpm,
        chroot=task.chroot,
        workdir=workdir,
        slot=slot,
        timeout=max(1, int(deadline - time.monotonic())),
        stall_timeout=config.builder_stall_timeout,
        max_log=config.builder_max_log,
        enable_net=task.enable_net and config.builder_network,
        with_opts=task.with_opts,
        without_opts=task.without_opts,
        source=known_source(config, srpm),
        buildroot=Buildroot(
            repos=task.repos,
            packages=task.buildroot_pkgs,
            modules=task.modules,
            isolation=task.isolation,
            bootstrap=task.bootstrap,
            bootstrap_image=task.bootstrap_image,
            memory=task.memory,
            fedora_review=task.fedora_review,
            macros=macros(task),
        ),
        reproducible=config.builder_reproducible,
    )


def macros(task: RpmTask) -> tuple[tuple[str, str], ...]:
    """Those that Copr gives every build: spec files ask for them."""
    return (
        ("copr_username", task.owner),
        ("copr_projectname", task.project),
        ("vendor", f"Copr: {task.owner}/{task.project}"),
        ("buildtag", f".copr{task.build_id}"),
    )


def known_source(config: Config, srpm: Path) -> Package | None:
    """What our own source build has found out about a source package that lies in its results."""
    if not srpm.is_relative_to(config.destdir):
        return None
    document = ResultDir(srpm.parent).finished() or {}
    names = ("name", "epoch", "version", "release")
    if any(name not in document for name in names):
        return None
    for arch in ("src", "nosrc"):
        package = Package(arch=arch, **{name: document[name] for name in names})
        if package.filename == srpm.name:
            return package
    return None


def notes(builder: Builder, task: RpmTask, made: BuildRequest) -> list[str]:
    """One line for each setting of the task that has no effect, with the reason."""
    ask = getattr(builder, "notes", None)
    lines = list(ask(made)) if ask else []
    if task.enable_net and not made.enable_net:
        lines.append("no network in the build: [builder] network is off")
    if task.appstream:
        lines.append("no appstream metadata: this backend does not make them")
    if task.user_ssh:
        lines.append("no ssh access for the user: this backend does not offer it")
    return lines


def settings(made: BuildRequest) -> dict[str, Any]:
    """What configs.tar.gz keeps of a request."""
    root = dataclasses.asdict(made.buildroot)
    own = ("timeout", "enable_net", "with_opts", "without_opts", "reproducible")
    return {"chroot": str(made.chroot), **{name: getattr(made, name) for name in own}, **root}


def publish(config: Config, task: RpmTask, manners: Manners = _PLAIN) -> None:
    """Mark the build as successful and list it: in the main metadata, or of a project in devel
    mode in that of `devel/`."""
    repo, url = layout.repo_path(config.destdir, task), _devel_url(config, task)
    policy = repository.policy(config, repo)
    repository.publish(repo, build=task.result_dir, devel_url=url, manners=manners, policy=policy)


def told(task: RpmTask) -> Told:
    """What must be remembered of a task so that it can be retracted without its record."""
    return Told(
        owner=task.owner,
        dirname=task.dirname,
        chroot_dir=task.chroot_dir,
        result_dir=task.result_dir,
        devel=task.devel,
    )


def retract(config: Config, task: RpmTask, manners: Manners = _PLAIN) -> None:
    """Take what an earlier attempt published back out of the same metadata."""
    retract_told(config, told(task), manners)


def retract_told(config: Config, place: Told, manners: Manners = _PLAIN) -> None:
    """The same for a task of which only that is known."""
    repo, url = layout.repo_path(config.destdir, place), _devel_url(config, place)
    policy = repository.policy(config, repo)
    repository.retract(repo, place.result_dir, url, manners, policy)


def _devel_url(config: Config, place: Told | RpmTask) -> str:
    url = layout.result_url(config.results_url, place)
    return url.rstrip("/").rpartition("/")[0] if place.devel else ""


def make_repositories(config: Config, task: RpmTask) -> None:
    """Make the project's own repositories if no createrepo has done so yet.

    Today's backend waits for that action, and fails the build after a minute.
    """
    prefix = config.results_url + "/"
    for repo in task.repos:
        url = str(repo.get("baseurl"))
        if repo.get("id") not in ("copr_base", "copr_coprdir") or not url.startswith(prefix):
            continue
        path = layout.local_path(config.destdir, url.removeprefix(prefix))
        if not repository.is_published(path):
            repository.publish(path, policy=repository.policy(config, path))
