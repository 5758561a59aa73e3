"""Records of tasks as the backend gets them: short ones, and all of one task."""

import json
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import case

from backend.chroot import Chroot
from backend.constants import Source
from backend.web import settings
from backend.web.models import Build, Project
from backend.web.shapes import upload_path
from backend.web.states import is_binary
from backend.web.store import Context

#: What `short` wants, in a query that joins builds and projects; then the batch.
COLUMNS = (
    *(Build.id, Build.background, Build.submitter, Project.owner, Project.name),
    Build.batch_id,
)
#: The chroot of a source task: a script's, if it names one.
SCRIPT_CHROOT = case(
    (Build.source_type == int(Source.CUSTOM), Build.source["chroot"].as_string()), else_=None
)


def short(row: Sequence[Any], chroot: str | None, script: str | None = None) -> dict[str, Any]:
    """One record of `pending-jobs/` from COLUMNS; `chroot` is None for the source task, which
    may have a `script` that wants a chroot."""
    build_id, background, submitter, owner, project = row[:5]
    record = {
        "task_id": f"{build_id}-{chroot}" if chroot else str(build_id),
        "build_id": build_id,
        "project_owner": owner,
        "sandbox": f"{owner}/{project}--{submitter}",
        "background": background,
        "chroot": chroot or script,
    }
    return record | {"tags": [], "allow_user_ssh": False} if chroot else record


def short_of(build: Build, chroot: str | None = None) -> dict[str, Any]:
    """The same, from the build."""
    owner, project = build.project.owner, build.project.name
    row = (build.id, build.background, build.submitter, owner, project)
    return short(row, chroot, script_chroot(build))


def script_chroot(build: Build) -> str | None:
    """The chroot that the script of a custom source names."""
    if build.source_type != Source.CUSTOM:
        return None
    chroot = build.source.get("chroot")
    return chroot if isinstance(chroot, str) and chroot else None


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
        "appstream": settings.of(project, "appstream"),
    }


def source_record(ctx: Context, build: Build) -> dict[str, Any]:
    """The full record of a source task."""
    source = dict(build.source)
    if build.source_type == Source.UPLOAD:
        source["url"] = ctx.config.frontend_url + upload_path(build)
    if settings.of(build.project, "fedora_review"):
        source["fedora_review"] = True
    script = script_chroot(build)
    repos = str(source.get("repos") or "").split() if build.source_type == Source.CUSTOM else []
    in_build = {Chroot.parse(chroot.name).name_release for chroot in build.chroots}
    in_project = {Chroot.parse(name).name_release for name in build.project.chroots}
    return _details(build) | {
        "task_id": str(build.id),
        "chroot": script,
        "package_name": build.pkg_name,
        "repos": [extra_repo(ctx, url, script or "") for url in repos],
        "source_type": build.source_type,
        "source_json": json.dumps(source),
        "distributions_in_project": sorted(in_project),
        "distributions_in_build": sorted(in_build),
    }


def extra_repo(ctx: Context, url: str, chroot: str) -> dict[str, Any]:
    """A repository that a project, a chroot or a script names; `copr://owner/project` is one of
    this server's own."""
    identity = re.sub(r"[^A-Za-z0-9]+", "_", url).strip("_")
    address = url
    if url.startswith("copr://"):
        address = f"{ctx.config.results_url}/{url.removeprefix('copr://').strip('/')}/{chroot}/"
    if chroot:
        parsed = Chroot.parse(chroot)
        system = parsed.name_release.rpartition("-")[0]
        address = address.replace("$chroot", chroot).replace("$distname", system)
    return {"id": identity, "name": f"Additional repo {identity}", "baseurl": address}


def _gpgless(ctx: Context, url: str, chroot: str) -> dict[str, Any]:
    found = extra_repo(ctx, url, chroot)
    return found | {"repo_gpgcheck": False} if url.startswith("copr://") else found


def repos(ctx: Context, project: Project, dirname: str, chroot: str) -> list[dict[str, Any]]:
    """Repositories that builds in a directory of the project use, for one chroot."""
    own_url = f"{ctx.config.results_url}/{project.owner}"

    def own(identity: str, name: str, url: str) -> dict[str, Any]:
        plain = {"id": identity, "name": name, "baseurl": url, "priority": None}
        return plain | {"repo_gpgcheck": False}

    base = f"{own_url}/{project.name}/{chroot}/"
    found = [own("copr_base", "Copr repository", base)]
    if settings.of(project, "repo_priority") is not None:
        found[0]["priority"] = settings.of(project, "repo_priority")
    if settings.of(project, "module_hotfixes"):
        found[0]["module_hotfixes"] = True
    if settings.of(project, "devel_mode"):
        found.append(own("copr_base_devel", "Copr buildroot", f"{base}devel/"))
    if dirname != project.name:
        url = f"{own_url}/{dirname}/{chroot}/"
        found.append(own("copr_coprdir", "Coprdir repository", url))
    named = [
        *settings.of(project, "additional_repos"),
        *settings.of_chroot(project, chroot)["additional_repos"],
    ]
    return found + [_gpgless(ctx, url, chroot) for url in dict.fromkeys(named)]


def isolation(build: Build, chroot: dict[str, Any]) -> str:
    """The build's own, else the chroot's, else the project's."""
    own = (build.isolation, chroot["isolation"], settings.of(build.project, "isolation"))
    return next(str(value) for value in (*own, "default") if value != "unchanged")


def bootstrap(options: dict[str, Any], project: Project, chroot: dict[str, Any]) -> dict[str, Any]:
    """The same for `bootstrap`: nothing when the builder's default applies."""
    known = {name: settings.of(project, name) for name in ("bootstrap", "bootstrap_image")}
    for place in (options, chroot, known):
        value = place.get("bootstrap", "unchanged")
        if value == "default":
            break
        if value != "unchanged":
            image = place.get("bootstrap_image")
            found = {"bootstrap": value}
            return found | ({"bootstrap_image": image} if value == "custom_image" else {})
    return {}


def _modules(chroot: dict[str, Any]) -> dict[str, Any]:
    words = chroot["additional_modules"]
    toggle = [{"disable": w[1:]} if w.startswith("!") else {"enable": w} for w in words]
    return {"modules": {"toggle": toggle}} if toggle else {}


def rpm_record(ctx: Context, build: Build, chroot: str) -> dict[str, Any]:
    """The full record of an RPM task, whose build has a package."""
    project = build.project
    own = settings.of_chroot(project, chroot)
    return {
        **_details(build),
        "task_id": f"{build.id}-{chroot}",
        "chroot": chroot,
        "tags": [],
        "allow_user_ssh": False,
        "ssh_public_keys": None,
        "git_repo": None,
        "git_hash": None,
        "srpm_url": build.srpm_url,
        "submitted_on": build.submitted_on,
        "package_name": build.pkg_name,
        "package_version": build.pkg_version,
        "timeout": build.timeout,
        "memory_reqs": 2048,
        "enable_net": build.enable_net,
        "isolation": isolation(build, own),
        "buildroot_pkgs": own["additional_packages"],
        "with_opts": own["with_opts"],
        "without_opts": own["without_opts"],
        **_modules(own),
        **bootstrap(build.options or {}, project, own),
        "repos": repos(ctx, project, build.dirname, chroot),
        "uses_devel_repo": settings.of(project, "devel_mode"),
        "fedora_review": settings.of(project, "fedora_review"),
        "repo_priority": settings.of(project, "repo_priority"),
        "storage": 0,
        **_binary(ctx, build),
    }


def _binary(ctx: Context, build: Build) -> dict[str, Any]:
    """Our own: where the package is that is to be published as it is."""
    return {"rpm_url": ctx.config.frontend_url + upload_path(build)} if is_binary(build) else {}
