"""Batches, actions, permissions, settings of chroots and packages, tokens that expire."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = depends_on = None


def upgrade() -> None:
    """Take the step."""
    op.add_column("user", sa.Column("expires_on", sa.Integer))
    op.add_column("project", _object("chroot_settings"))
    op.add_column("package", sa.Column("source_type", sa.Integer))
    op.add_column("package", _object("source"))
    op.add_column("package", _object("options"))
    op.add_column("build", sa.Column("batch_id", sa.Integer))
    op.add_column("build", _object("options"))
    op.create_index("ix_build_batch_id", "build", ["batch_id"])
    op.create_index("build_of_package", "build", ["project_id", "pkg_name"])
    op.create_table(
        "permission",
        sa.Column("project_id", sa.Integer, sa.ForeignKey("project.id"), primary_key=True),
        sa.Column("user_name", sa.String, primary_key=True),
        sa.Column("builder", sa.Integer, nullable=False),
        sa.Column("admin", sa.Integer, nullable=False),
    )
    op.create_table(
        "batch",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("blocked_by", sa.Integer, sa.ForeignKey("batch.id")),
    )
    op.create_index("ix_batch_blocked_by", "batch", ["blocked_by"])
    op.create_table(
        "action",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("action_type", sa.Integer, nullable=False),
        sa.Column("object_type", sa.String, nullable=False),
        sa.Column("object_id", sa.Integer),
        sa.Column("project_id", sa.Integer, sa.ForeignKey("project.id")),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("old_value", sa.String),
        sa.Column("new_value", sa.String),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("result", sa.Integer, nullable=False),
        sa.Column("message", sa.String),
        sa.Column("created_on", sa.Integer, nullable=False),
        sa.Column("ended_on", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_action_project_id", "action", ["project_id"])
    op.create_index("ix_action_result", "action", ["result"])


def _object(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False, server_default="{}")
