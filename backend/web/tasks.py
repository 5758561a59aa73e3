"""Records of tasks as the backend gets them (PROTOCOL A): short ones, and all of one task."""

import json
import re
from collections.abc import Sequence
from typing import Any

from backend.chroot import Chroot
from backend.constants import Source
from backend.web.models import Build, Project
from backend.web.shapes import upload_path
from backend.web.store import Context

#: What `short` wants, in a query that joins builds and projects.
COLUMNS = (Build.id, Build.background, Build.submitter, Project.owner, Project.name)


def short(row: Sequence[Any], chroot: str | None) -> dict[str, Any]:
    """One record of `pending-jobs/` from COLUMNS; `chroot` is None for the source task."""
    build_id, background, submitter, owner, project = row
    record = {
        "task_id": f"{build_id}-{chroot}" if chroot else str(build_id),
        "build_id": build_id,
        "project_owner": owner,
        "sandbox": f"{owner}/{project}--{submitter}",
        "background": background,
        "chroot": chroot,
    }
    return record | {"tags": [], "allow_user_ssh": False} if chroot else record


def short_of(build: Build, chroot: str | None = None) -> dict[str, Any]:
    """The same, from the build."""
    owner, project = build.project.owner, build.project.name
    return short((build.id, build.background, build.submitter, owner, project), chroot)


def _details(build: Build) -> dict[str, Any]:
    project = build.project
    return {
        "build_id": build.id,
        "project_owner": project.owner,
        "project_name": project.name,
        "project_dirname": build.dirname,
        "submitter": build.submitter,
        "sandbox": f"{project.full_name}--{build.submitter}",
        "background": build.background,
        "appstream": False,
    }


def source_record(ctx: Context, build: Build) -> dict[str, Any]:
    """The full record of a source task."""
    source = dict(build.source)
    if build.source_type == Source.UPLOAD:
        source["url"] = ctx.config.frontend_url + upload_path(build)
    in_build = {Chroot.parse(chroot.name).name_release for chroot in build.chroots}
    in_project = {Chroot.parse(name).name_release for name in build.project.chroots}
    return _details(build) | {
        "task_id": str(build.id),
        "chroot": None,
        "package_name": build.pkg_name,
        "repos": [],
        "source_type": build.source_type,
        "source_json": json.dumps(source),
        "distributions_in_project": sorted(in_project),
        "distributions_in_build": sorted(in_build),
    }


def _repos(ctx: Context, build: Build, chroot: str) -> list[dict[str, Any]]:
    project, base = build.project, ctx.config.results_url

    def repo(identity: str, name: str, url: str) -> dict[str, Any]:
        return {"id": identity, "name": name, "baseurl": url}

    def own(identity: str, name: str, dirname: str) -> dict[str, Any]:
        url = f"{base}/{project.owner}/{dirname}/{chroot}/"
        return repo(identity, name, url) | {"priority": None, "repo_gpgcheck": False}

    repos = [own("copr_base", "Copr repository", project.name)]
    if build.dirname != project.name:
        repos.append(own("copr_coprdir", "Copr directory", build.dirname))
    for url in project.settings.get("additional_repos") or []:
        identity = re.sub(r"[^A-Za-z0-9]+", "_", url).strip("_")
        repos.append(repo(identity, f"Additional repo {identity}", url))
    return repos


def rpm_record(ctx: Context, build: Build, chroot: str) -> dict[str, Any]:
    """The full record of an RPM task, whose build has a package."""
    return _details(build) | {
        "task_id": f"{build.id}-{chroot}",
        "chroot": chroot,
        "tags": [],
        "allow_user_ssh": False,
        "ssh_public_keys": None,
        "git_repo": None,
        "git_hash": None,
        "srpm_url": build.srpm_url,
        "package_name": build.pkg_name,
        "package_version": build.pkg_version,
        "timeout": build.timeout,
        "memory_reqs": 2048,
        "enable_net": build.enable_net,
        "isolation": build.isolation,
        "buildroot_pkgs": [],
        "with_opts": [],
        "without_opts": [],
        "repos": _repos(ctx, build, chroot),
        "uses_devel_repo": False,
        "fedora_review": False,
        "repo_priority": None,
        "storage": 0,
    }
