"""The tables as they were before there were migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = depends_on = None


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "user",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("login", sa.String, nullable=False, unique=True),
        sa.Column("token_hash", sa.String, nullable=False),
    )
    op.create_table(
        "project",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("settings", sa.JSON, nullable=False),
        sa.Column("chroots", sa.JSON, nullable=False),
        sa.Column("created_on", sa.Integer, nullable=False),
        sa.Column("deleted_on", sa.Integer),
        sqlite_autoincrement=True,
    )
    there = sa.text("deleted_on IS NULL")
    op.create_index(
        "project_name", "project", ["owner", "name"], unique=True,
        sqlite_where=there, postgresql_where=there,
    )  # fmt: skip
    op.create_table(
        "package",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project_id", sa.Integer, sa.ForeignKey("project.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
    )
    op.create_index("package_name", "package", ["project_id", "name"], unique=True)
    _builds()
    op.create_table(
        "cancel_request",
        sa.Column("task_id", sa.String, primary_key=True),
        sa.Column("build_id", sa.Integer, nullable=False),
    )


def _builds() -> None:
    op.create_table(
        "build",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project_id", sa.Integer, sa.ForeignKey("project.id"), nullable=False),
        sa.Column("dirname", sa.String, nullable=False),
        sa.Column("submitter", sa.String, nullable=False),
        sa.Column("source_type", sa.Integer, nullable=False),
        sa.Column("source", sa.JSON, nullable=False),
        sa.Column("source_status", sa.Integer, nullable=False),
        sa.Column("canceled", sa.Boolean, nullable=False),
        sa.Column("background", sa.Boolean, nullable=False),
        sa.Column("timeout", sa.Integer, nullable=False),
        sa.Column("enable_net", sa.Boolean, nullable=False),
        sa.Column("isolation", sa.String, nullable=False),
        sa.Column("excluded", sa.JSON, nullable=False),
        sa.Column("pkg_name", sa.String),
        sa.Column("pkg_version", sa.String),
        sa.Column("srpm_url", sa.String),
        sa.Column("result_dir", sa.String),
        sa.Column("submitted_on", sa.Integer, nullable=False),
        sa.Column("started_on", sa.Integer),
        sa.Column("ended_on", sa.Integer),
        sa.Column("failure", sa.String),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_build_source_status", "build", ["source_status"])
    op.create_index("ix_build_project_id", "build", ["project_id"])
    op.create_table(
        "build_chroot",
        sa.Column("build_id", sa.Integer, sa.ForeignKey("build.id"), primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("started_on", sa.Integer),
        sa.Column("ended_on", sa.Integer),
        sa.Column("result_dir", sa.String),
        sa.Column("failure", sa.String),
        sa.Column("packages", sa.JSON, nullable=False),
    )
    op.create_index("ix_build_chroot_status", "build_chroot", ["status"])
