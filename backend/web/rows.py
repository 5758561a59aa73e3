"""Builds as plain rows, for what happens to every task: the ORM takes ten times as long for it.

The objects have the attributes of the models, so that `states`, `tasks` and `shapes` work on
both; here they are of no session, and `save` writes back what reports can change.
"""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, insert, select, update

from backend.constants import Status
from backend.web import states
from backend.web.models import Build, BuildChroot, Package, Project, User

_BUILD, _CHROOT, _PACKAGE, _PROJECT, _USER = (
    cast(Table, model.__table__) for model in (Build, BuildChroot, Package, Project, User)
)

_USER_BY_LOGIN = select(_USER).where(_USER.c.login == bindparam("login_"))
_PROJECT_BY_NAME = select(_PROJECT).where(
    _PROJECT.c.owner == bindparam("owner_"),
    _PROJECT.c.name == bindparam("name_"),
    _PROJECT.c.deleted_on.is_(None),
)
_BUILDS = select(_BUILD, _PROJECT).join(_PROJECT, _BUILD.c.project_id == _PROJECT.c.id)
_CHROOTS = select(_CHROOT).order_by(_CHROOT.c.build_id, _CHROOT.c.name)
_ONE: Any = bindparam("id_")
_MANY: Any = bindparam("ids", expanding=True)
#: For one build, and for many: a list takes longer to prepare than to look up.
_BUILDS_OF = (_BUILDS.where(_BUILD.c.id == _ONE), _BUILDS.where(_BUILD.c.id.in_(_MANY)))
_CHROOTS_OF = (
    _CHROOTS.where(_CHROOT.c.build_id == _ONE),
    _CHROOTS.where(_CHROOT.c.build_id.in_(_MANY)),
)
_BUILD_NAMES, _PROJECT_NAMES, _CHROOT_NAMES = (
    tuple(column.name for column in table.columns) for table in (_BUILD, _PROJECT, _CHROOT)
)
_PACKAGE_ID = select(_PACKAGE.c.id).where(
    _PACKAGE.c.project_id == bindparam("project"), _PACKAGE.c.name == bindparam("name_")
)
#: No id is that large, and a database would refuse to look for it.
_TOO_LARGE = 2**31
#: Columns that reports change.
_BUILD_CHANGES = (
    *("source_status", "pkg_name", "pkg_version", "srpm_url"),
    *("result_dir", "started_on", "ended_on", "failure", "final"),
)
_CHROOT_CHANGES = ("status", "started_on", "ended_on", "result_dir", "failure", "packages")
_SAVE_BUILD = (
    update(_BUILD)
    .where(_BUILD.c.id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in _BUILD_CHANGES})
)
_SAVE_CHROOT = (
    update(_CHROOT)
    .where(_CHROOT.c.build_id == bindparam("key"), _CHROOT.c.name == bindparam("chroot"))
    .values({name: bindparam(f"new_{name}") for name in _CHROOT_CHANGES})
)


def user(connection: Connection, login: str) -> User | None:
    """The user with this login."""
    row = connection.execute(_USER_BY_LOGIN, {"login_": login}).first()
    return User(**row._asdict()) if row else None


def project(connection: Connection, owner: str, name: str) -> Project | None:
    """The project of that name that is not deleted."""
    row = connection.execute(_PROJECT_BY_NAME, {"owner_": owner, "name_": name}).first()
    return _project(row) if row else None


def _project(row: Sequence[Any]) -> Project:
    values = dict(zip(_PROJECT_NAMES, row, strict=True))
    full_name = f"{values['owner']}/{values['name']}"
    return cast(Project, SimpleNamespace(**values, full_name=full_name))


def builds(connection: Connection, ids: Iterable[int]) -> dict[int, Build]:
    """The builds that exist, with their chroots and projects."""
    wanted = [number for number in ids if 0 < number < _TOO_LARGE]
    many = len(wanted) != 1
    which: dict[str, Any] = {"ids": wanted} if many else {"id_": wanted[0]}
    found, width = {}, len(_BUILD_NAMES)
    projects: dict[int, Project] = {}
    for row in connection.execute(_BUILDS_OF[many], which):
        values = dict(zip(_BUILD_NAMES, row[:width], strict=True))
        project = projects.get(values["project_id"]) or _project(row[width:])
        projects[values["project_id"]] = project
        made = SimpleNamespace(**values, project=project, chroots=[], saved=values)
        found[values["id"]] = made
    for row in connection.execute(_CHROOTS_OF[many], which) if found else ():
        values = dict(zip(_CHROOT_NAMES, row, strict=True))
        found[values["build_id"]].chroots.append(SimpleNamespace(**values, saved=values))
    return cast(dict[int, Build], found)


def _changed(item: Any, names: Sequence[str]) -> dict[str, Any] | None:
    """Values of the columns `names` if one of them differs from the database."""
    values = {f"new_{name}": getattr(item, name) for name in names}
    before = item.saved
    return values if any(values[f"new_{name}"] != before[name] for name in names) else None


def save(connection: Connection, items: Iterable[Build]) -> None:
    """Write back what has changed in builds that `builds` read, new chroots and packages too."""
    changed, chroots, added = [], [], []
    for build in items:
        build.final = states.final(build)
        if values := _changed(build, _BUILD_CHANGES):
            changed.append(values | {"key": build.id})
            if values["new_pkg_name"] != cast(Any, build).saved["pkg_name"]:
                remember_package(connection, build)
        for chroot in build.chroots:
            if not hasattr(chroot, "saved"):
                added.append({"build_id": build.id, "name": chroot.name, "status": chroot.status})
            elif values := _changed(chroot, _CHROOT_CHANGES):
                chroots.append(values | {"key": build.id, "chroot": chroot.name})
    for statement, rows in ((_SAVE_BUILD, changed), (_SAVE_CHROOT, chroots)):
        if rows:
            connection.execute(statement, rows)
    _add_chroots(connection, added)


def remember_package(connection: Connection, build: Build) -> None:
    """Make the build's package known in its project."""
    where = {"project": build.project_id, "name_": build.pkg_name}
    if build.pkg_name and connection.execute(_PACKAGE_ID, where).first() is None:
        values = {"project_id": build.project_id, "name": build.pkg_name}
        connection.execute(insert(_PACKAGE), values)


def _add_chroots(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(_CHROOT), [row | {"packages": []} for row in rows])


def add(connection: Connection, project: Project, values: dict[str, Any]) -> Build:
    """Store a new build, which waits for its source task; `values` are columns, `chroots`, the
    names of the chroots that were asked for, and perhaps `chroot_status`, their state."""
    own = {"chroots", "chroot_status"}
    columns = {
        "source_status": int(Status.PENDING),
        "canceled": False,
        **{name: value for name, value in values.items() if name not in own},
        "project_id": project.id,
    }
    result = connection.execute(insert(_BUILD), columns)
    number = int(cast(Any, result.inserted_primary_key)[0])
    status = values.get("chroot_status", int(Status.WAITING))
    rows = [{"build_id": number, "name": name, "status": status} for name in values["chroots"]]
    _add_chroots(connection, rows)
    empty = dict.fromkeys(column.name for column in _BUILD.columns)
    known = empty | columns | {"id": number, "project": project, "chroots": _new(rows)}
    return cast(Build, SimpleNamespace(**known))


def _new(rows: list[dict[str, Any]]) -> list[SimpleNamespace]:
    """What the models would hold of chroots that have just been stored."""
    nothing = dict.fromkeys(("started_on", "ended_on", "result_dir", "failure", "pruned_on"))
    ordered = sorted(rows, key=lambda row: str(row["name"]))
    return [SimpleNamespace(**nothing, **row, packages=[]) for row in ordered]
