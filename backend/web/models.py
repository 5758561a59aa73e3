"""Tables of the embedded frontend."""

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from backend.constants import Status


class Base(DeclarativeBase):
    """Parent of all tables."""

    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012  (SQLAlchemy's)


class User(Base):
    """Someone who may submit; the token itself is never stored."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    login: Mapped[str] = mapped_column(unique=True)
    token_hash: Mapped[str]
    #: From then on the token is refused, in seconds since 1970; None: it stays good.
    expires_on: Mapped[int | None]


class Project(Base):
    """A project; a deleted one stays as a row, its name is free again."""

    __tablename__ = "project"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    description: Mapped[str] = mapped_column(Text, default="")
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    chroots: Mapped[list[Any]] = mapped_column(default=list)
    #: Chroot → what differs there from the project's settings.
    chroot_settings: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    created_on: Mapped[int]
    deleted_on: Mapped[int | None]
    #: Part of the addresses at which forges ask for builds; None: there are none.
    webhook_secret: Mapped[str | None]
    __table_args__ = (
        Index(
            "project_name",
            "owner",
            "name",
            unique=True,
            sqlite_where=text("deleted_on IS NULL"),
            postgresql_where=text("deleted_on IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner}/{self.name}"


class Permission(Base):
    """What somebody else may do in a project, or asks to be allowed: see `permissions`."""

    __tablename__ = "permission"
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), primary_key=True)
    user_name: Mapped[str] = mapped_column(primary_key=True)
    builder: Mapped[int] = mapped_column(default=0)
    admin: Mapped[int] = mapped_column(default=0)


class Package(Base):
    """A package name known in a project; with `source_type` it can be built by its name."""

    __tablename__ = "package"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    name: Mapped[str]
    source_type: Mapped[int | None]
    source: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    __table_args__ = (
        Index("package_name", "project_id", "name", unique=True),
        Index("package_of_project", "project_id", "id"),
    )


class Batch(Base):
    """Builds that start only when all builds of another batch are finished."""

    __tablename__ = "batch"
    id: Mapped[int] = mapped_column(primary_key=True)
    blocked_by: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), index=True)


class Build(Base):
    """One submission: its source build, and one BuildChroot for each chroot."""

    __tablename__ = "build"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"))
    dirname: Mapped[str]
    submitter: Mapped[str]
    source_type: Mapped[int]
    source: Mapped[dict[str, Any]]
    source_status: Mapped[int] = mapped_column(default=int(Status.PENDING), index=True)
    canceled: Mapped[bool] = mapped_column(default=False)
    background: Mapped[bool] = mapped_column(default=False)
    timeout: Mapped[int]
    enable_net: Mapped[bool] = mapped_column(default=False)
    isolation: Mapped[str] = mapped_column(default="default")
    excluded: Mapped[list[Any]] = mapped_column(default=list)
    pkg_name: Mapped[str | None]
    pkg_version: Mapped[str | None]
    srpm_url: Mapped[str | None]
    result_dir: Mapped[str | None]
    submitted_on: Mapped[int]
    started_on: Mapped[int | None]
    ended_on: Mapped[int | None]
    failure: Mapped[str | None]
    batch_id: Mapped[int | None] = mapped_column(index=True)
    #: The state that users see, once it is finished; None before. Kept by `finals` and `rows`.
    final: Mapped[int | None]
    #: When its source package was pruned, in seconds since 1970.
    pruned_on: Mapped[int | None]
    #: `bootstrap` and its image, if they differ from the project's.
    options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    project: Mapped[Project] = relationship(lazy="joined", innerjoin=True)
    chroots: Mapped[list["BuildChroot"]] = relationship(
        lazy="selectin", order_by="BuildChroot.name", cascade="all, delete-orphan"
    )
    __table_args__ = (
        Index("build_of_package", "project_id", "pkg_name", "id"),
        Index("build_of_project", "project_id", "id"),
        Index("build_by_state", "project_id", "final", "id"),
        {"sqlite_autoincrement": True},
    )


class BuildChroot(Base):
    """The RPM build of one Build for one chroot."""

    __tablename__ = "build_chroot"
    build_id: Mapped[int] = mapped_column(ForeignKey("build.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[int] = mapped_column(index=True)
    started_on: Mapped[int | None]
    ended_on: Mapped[int | None]
    result_dir: Mapped[str | None]
    failure: Mapped[str | None]
    packages: Mapped[list[Any]] = mapped_column(default=list)
    #: When its packages were pruned; without a `result_dir` the logs went too.
    pruned_on: Mapped[int | None]


class CancelRequest(Base):
    """A task that somebody wants stopped, until the backend acknowledges it."""

    __tablename__ = "cancel_request"
    task_id: Mapped[str] = mapped_column(primary_key=True)
    build_id: Mapped[int]


class Action(Base):
    """Work beside builds that the backend does with the results."""

    __tablename__ = "action"
    id: Mapped[int] = mapped_column(primary_key=True)
    action_type: Mapped[int]
    object_type: Mapped[str]
    object_id: Mapped[int | None]
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id"), index=True)
    owner: Mapped[str]
    old_value: Mapped[str | None]
    new_value: Mapped[str | None]
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    priority: Mapped[int] = mapped_column(default=0)
    result: Mapped[int] = mapped_column(default=0, index=True)
    message: Mapped[str | None]
    created_on: Mapped[int]
    ended_on: Mapped[int | None]
    __table_args__ = ({"sqlite_autoincrement": True},)


class Verdict(Base):
    """What kind of failure ended a task, and the lines of its log that say so. The source task's
    `chroot` is empty."""

    __tablename__ = "verdict"
    build_id: Mapped[int] = mapped_column(
        ForeignKey("build.id", ondelete="CASCADE"), primary_key=True
    )
    chroot: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    lines: Mapped[list[Any]] = mapped_column(default=list)


class Sample(Base):
    """What was going on at one moment (seconds since 1970), for plots; `succeeded` and `failed`
    are the tasks that ended since the sample before."""

    __tablename__ = "sample"
    at: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    running: Mapped[int]
    waiting: Mapped[int]
    succeeded: Mapped[int]
    failed: Mapped[int]


class Hook(Base):
    """An address that is told of each finished build of a project."""

    __tablename__ = "hook"
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id"), index=True)
    url: Mapped[str]
    #: Signs the messages; empty: they are not signed.
    secret: Mapped[str]
    created_on: Mapped[int]
    __table_args__ = ({"sqlite_autoincrement": True},)


class Delivery(Base):
    """A message for a hook, and how its delivery went; kept for a while as a log."""

    __tablename__ = "hook_delivery"
    id: Mapped[int] = mapped_column(primary_key=True)
    hook_id: Mapped[int] = mapped_column(ForeignKey("hook.id", ondelete="CASCADE"))
    event: Mapped[str]
    #: None for a message that somebody sent to try the address.
    build_id: Mapped[int | None]
    #: The same at each try.
    name: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
    created_on: Mapped[int]
    tries: Mapped[int] = mapped_column(default=0)
    #: When it is tried next; None: it was taken, or given up.
    due: Mapped[int | None] = mapped_column(index=True)
    #: HTTP status of the last answer; None: there was none.
    status: Mapped[int | None]
    trouble: Mapped[str | None]
    ended_on: Mapped[int | None]
    __table_args__ = (
        Index("deliveries_of_hook", "hook_id", "id"),
        Index("delivery_of_build", "hook_id", "build_id"),
        {"sqlite_autoincrement": True},
    )
