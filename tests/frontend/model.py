"""The state of a recorded Copr frontend: what the captures show a real one to do.

Pure values and rules, its traps included: `result_dir` is blanked when left out, a repeated
terminal update lists packages twice, identifiers must be integers. Each rule that a capture
proves is compared with it in test_recorded.py.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.frontend.values import (
    ACTIVE,
    CANCELED,
    FAILED,
    FINISHED,
    FIXED,
    IMPORTING,
    PACKAGE_KEYS,
    PENDING,
    PRIORITY,
    RUNNING,
    SKIPPED,
    STARTING,
    SUCCEEDED,
    WAITING,
    Broken,
    Build,
    BuildChroot,
    Project,
    branch,
    name_release,
)


@dataclass
class Model:
    """`results` is the URL under which the backend's results are served, `git` the dist-git's."""

    results: str = "http://127.0.0.1:5002/results"
    git: str = "http://127.0.0.1:5001/git"
    projects: dict[tuple[str, str], Project] = field(default_factory=dict)
    builds: dict[int, Build] = field(default_factory=dict)
    actions: dict[int, dict[str, Any]] = field(default_factory=dict)
    cancels: list[str] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)

    # --- what users do --------------------------------------------------------------------

    def create(self, owner: str, name: str, chroots: list[str], **settings: Any) -> Project:
        project = Project(len(self.projects) + 1, owner, name, list(chroots), settings)
        self.projects[owner, name] = project
        for devel in [True, False] if settings.get("devel") else [False]:
            self.createrepo(project, chroots, devel=devel, priority=-99)
        data = {"ownername": owner, "projectname": name, "appstream": False}
        self.act(5, "copr", data, project)
        return project

    def createrepo(
        self, project: Project, chroots: list[str], *, devel: bool = False, reason: int = 1,
        priority: int = 0, dirnames: list[str] | None = None,
    ) -> int:  # fmt: skip
        data = {
            "ownername": project.owner, "projectname": project.name,
            "project_dirnames": dirnames or [project.name], "chroots": list(chroots),
            "appstream": False, "storage": 0, "reason": reason, "persistent": False,
            "devel": devel,
        }  # fmt: skip
        return self.act(3, "repository", data, project, object_id=0, priority=priority)

    def act(
        self, kind: int, what: str, data: Any, project: Project | None = None, **values: Any
    ) -> int:
        number = len(self.actions) + 1
        record = {
            "id": number, "action_type": kind, "object_type": what, "object_id": None,
            "old_value": None, "new_value": None, "priority": 0, "result": 0, "message": None,
            "copr_id": project.id if project else None, "created_on": 1795498474,
            "ended_on": None, "data": json.dumps(data),
        }  # fmt: skip
        owner = project.owner if project else None
        self.actions[number] = record | values | {"_owner": owner}
        return number

    def submit(
        self, owner: str, name: str, source_type: int, source: dict[str, Any],
        *, chroots: list[str] | None = None, dirname: str | None = None, **values: Any,
    ) -> Build:  # fmt: skip
        project = self.projects[owner, name]
        build = Build(
            len(self.builds) + 1, project, dirname or name, source_type, dict(source), **values
        )
        build.chroots = {chroot: BuildChroot() for chroot in chroots or []}
        self.builds[build.id] = build
        return build

    def cancel(self, number: int) -> None:
        build = self.builds[number]
        build.canceled = True
        self.cancels += [str(number), *(f"{number}-{chroot}" for chroot in build.chroots)]

    # --- what the backend asks ------------------------------------------------------------

    def pending_jobs(self) -> list[dict[str, Any]]:
        order = sorted(self.builds.values(), key=lambda build: (build.background, build.id))
        open_builds = [build for build in order if not build.canceled]
        jobs = [self._short(build, None) for build in open_builds if build.status in ACTIVE]
        for build in open_builds:
            for name, chroot in sorted(build.chroots.items()):
                if chroot.status in ACTIVE:
                    jobs.append(self._short(build, name))
        return jobs

    def _short(self, build: Build, chroot: str | None) -> dict[str, Any]:
        record = {
            "task_id": f"{build.id}-{chroot}" if chroot else str(build.id),
            "build_id": build.id,
            "project_owner": build.project.owner,
            "sandbox": f"{build.project.owner}/{build.project.name}--jdoe",
            "background": build.background,
            "chroot": chroot or (build.source.get("chroot") if build.source_type == 9 else None),
        }
        return record | ({"tags": [], "allow_user_ssh": False} if chroot else {})

    def _details(self, build: Build) -> dict[str, Any]:
        project = build.project
        return {
            "build_id": build.id, "project_owner": project.owner, "project_name": project.name,
            "project_dirname": build.dirname, "submitter": "jdoe", "background": build.background,
            "sandbox": f"{project.owner}/{project.name}--jdoe", "appstream": False,
        }  # fmt: skip

    def source_task(self, number: int) -> dict[str, Any] | None:
        build = self.builds.get(number)
        if build is None:
            return None
        in_build = sorted({name_release(chroot) for chroot in build.chroots})
        return self._details(build) | {
            "task_id": str(number),
            "chroot": build.source.get("chroot") if build.source_type == 9 else None,
            "package_name": build.pkg_name,
            "repos": build.source.get("_repos", []),
            "source_type": build.source_type,
            "source_json": json.dumps({k: v for k, v in build.source.items() if k[0] != "_"}),
            "distributions_in_build": in_build,
            "distributions_in_project": sorted({name_release(c) for c in build.project.chroots}),
        }

    def rpm_task(self, task_id: str) -> dict[str, Any] | None:
        """Raises KeyError for an unknown task; None when the project dropped the chroot."""
        number, _, name = task_id.partition("-")
        build = self.builds[int(number)]
        chroot = build.chroots[name]
        if build.pkg_name is None:
            raise Broken("'NoneType' object has no attribute 'name'")
        if name not in build.project.chroots:
            return None
        own = build.project.settings
        record = self._details(build) | {
            "task_id": task_id, "chroot": name, "tags": [], "allow_user_ssh": False,
            "ssh_public_keys": None, "git_hash": chroot.git_hash,
            "git_repo": f"{self.git}/{build.project.owner}/{build.dirname}/{build.pkg_name}",
            "package_name": build.pkg_name, "package_version": build.pkg_version,
            "timeout": build.timeout, "memory_reqs": 2048,
            "enable_net": False, "isolation": "default",
            "buildroot_pkgs": [], "with_opts": [], "without_opts": [],
            "repos": self._repos(build, name),
            "uses_devel_repo": bool(own.get("devel")), "fedora_review": False,
            "repo_priority": None, "storage": 0,
        }  # fmt: skip
        own_task: dict[str, Any] = own.get("task", {})
        return record | own_task

    def _repos(self, build: Build, chroot: str) -> list[dict[str, Any]]:
        project = build.project

        def own(identity: str, name: str, dirname: str, tail: str = "") -> dict[str, Any]:
            url = f"{self.results}/{project.owner}/{dirname}/{chroot}/{tail}"
            return {"id": identity, "name": name, "baseurl": url, "priority": None,
                    "repo_gpgcheck": False}  # fmt: skip

        repos = [own("copr_base", "Copr repository", project.name)]
        if project.settings.get("devel"):
            repos.append(own("copr_base_devel", "Copr buildroot", project.name, "devel/"))
        if build.dirname != project.name:
            repos.append(own("copr_coprdir", "Coprdir repository", build.dirname))
        return repos + list(project.settings.get("repos", []))

    def pending_actions(self) -> list[dict[str, Any]]:
        waiting = [record for record in self.actions.values() if record["result"] == 0]
        gone: set[int] = set()
        offered = []
        for record in waiting:
            if record["copr_id"] in gone:
                continue
            if record["action_type"] == 0 and record["object_type"] == "copr":
                gone.add(record["copr_id"])
            priority = record["priority"] or PRIORITY.get(record["action_type"], 0)
            offered.append(
                {"id": record["id"], "priority": priority, "project_owner": record["_owner"]}
            )
        return offered

    def action(self, number: int) -> dict[str, Any]:
        if number not in self.actions:
            raise Broken("no such action")
        return {key: value for key, value in self.actions[number].items() if key != "_owner"}

    # --- what the backend reports ---------------------------------------------------------

    def starting(self, body: dict[str, Any]) -> bool:
        build = self.builds.get(body["build_id"])
        if build is None or build.canceled:
            return False
        self._apply(build, body)
        return True

    def update(self, body: dict[str, Any]) -> dict[str, list[int]]:
        reply: dict[str, list[int]] = {}
        if "actions" in body:
            records = {record["id"]: record for record in body["actions"]}
            known = [number for number in records if number in self.actions]
            for number in known:
                self._end_action(self.actions[number], records[number])
            reply["updated_actions_ids"] = known
            reply["non_existing_actions_ids"] = [n for n in records if n not in known]
        if "builds" in body:
            builds = {record["id"]: record for record in body["builds"]}
            if not all(isinstance(number, int) for number in builds):
                raise Broken("operator does not exist: integer = character varying")
            known = [number for number in builds if number in self.builds]
            for number in known:
                self.updates.append(builds[number])
                self._apply(self.builds[number], builds[number])
            reply["updated_builds_ids"] = known
            reply["non_existing_builds_ids"] = [n for n in builds if n not in known]
        return reply

    def _end_action(self, record: dict[str, Any], report: dict[str, Any]) -> None:
        if report.get("result") in (1, 2):
            record["result"], record["ended_on"] = report["result"], 1795498835
        record["message"] = report.get("message") or record["message"]

    def _apply(self, build: Build, update: dict[str, Any]) -> None:
        if str(update.get("task_id")) == str(build.id):
            self._apply_source(build, update)
        elif update.get("chroot") in build.chroots:
            self._apply_chroot(build.chroots[update["chroot"]], update)

    def _apply_chroot(self, chroot: BuildChroot, update: dict[str, Any]) -> None:
        status = update.get("status")
        results = (update.get("results") or {}).get("packages") or []
        if status in FIXED and any(set(package) != PACKAGE_KEYS for package in results):
            raise Broken("unexpected keyword argument")
        chroot.result_dir = update.get("result_dir") or None
        if status == STARTING and "started_on" in update:
            chroot.started_on = int(update["started_on"])
        if status in FIXED:
            chroot.ended_on = int(update.get("ended_on") or 1795498835)
            chroot.packages += [dict(package) for package in results]
        if status is not None and chroot.status not in FIXED:
            chroot.status = status

    def _apply_source(self, build: Build, update: dict[str, Any]) -> None:
        if update.get("status") is None:
            raise Broken("null value in column source_status")
        build.result_dir = update.get("result_dir") or None
        for key in ("pkg_name", "pkg_version", "srpm_url"):
            setattr(build, key, update.get(key) or getattr(build, key))
        status = update["status"]
        if status == SUCCEEDED:
            status = self._source_done(build, update.get("results"))
        if status in (FAILED, SKIPPED):
            for chroot in build.chroots.values():
                chroot.status = status
        build.status = status

    def _source_done(self, build: Build, results: dict[str, Any] | None) -> int:
        if not build.pkg_name and not build.chroots:
            return FAILED
        names = list(build.chroots) or build.project.chroots
        tags = (results or {}).get("architecture_specific_tags")
        if results and any(name_release(name) not in (tags or {}) for name in names):
            raise Broken("KeyError: distribution")
        build.chroots = {name: BuildChroot() for name in names}
        for name, chroot in build.chroots.items():
            own = (tags or {}).get(name_release(name), {})
            arch = name.rpartition("-")[2]
            only, never = own.get("exclusivearch") or [], own.get("excludearch") or []
            if arch in never or (only and arch not in only):
                chroot.status = SKIPPED
        return IMPORTING

    def reschedule(self, body: dict[str, Any]) -> dict[str, str]:
        build = self.builds.get(body["build_id"])
        if build is None:
            return {"result": "noop", "msg": f"Build {body['build_id']} wasn't found"}
        whole = body["task_id"] == str(build.id)
        target: Build | BuildChroot | None = build if whole else build.chroots.get(body["chroot"])
        if target is None or target.status not in (STARTING, RUNNING):
            return {"result": "noop", "msg": "build is not in starting or running state"}
        target.status, target.result_dir = PENDING, None
        return {"result": "done"}

    def acknowledge(self, task_id: str) -> None:
        if task_id not in self.cancels:
            return
        self.cancels.remove(task_id)
        number, _, name = task_id.partition("-")
        build = self.builds[int(number)]
        target: Build | BuildChroot = build.chroots[name] if name else build
        if target.status not in FINISHED:
            target.status = CANCELED

    # --- dist-git -------------------------------------------------------------------------

    def importing(self) -> list[dict[str, Any]]:
        return [
            {
                "build_id": build.id, "owner": build.project.owner, "project": build.dirname,
                "branches": sorted({branch(name) for name, chroot in build.chroots.items()
                                    if chroot.status == WAITING}),
                "pkg_name": build.pkg_name, "srpm_url": build.srpm_url,
                "sandbox": f"{build.project.owner}/{build.project.name}--jdoe",
                "background": build.background,
            }
            for build in self.builds.values() if build.status == IMPORTING and not build.canceled
        ]  # fmt: skip

    def import_completed(self, body: dict[str, Any]) -> bool:
        build = self.builds.get(body["build_id"])
        if build is None:
            return False
        commits: dict[str, str] = body.get("branch_commits") or {}
        build.status = SUCCEEDED
        for name, chroot in build.chroots.items():
            if chroot.status != WAITING:
                continue
            chroot.git_hash = commits.get(branch(name))
            chroot.status = PENDING if chroot.git_hash else FAILED
            if not chroot.git_hash:
                build.status = FAILED
        return True
