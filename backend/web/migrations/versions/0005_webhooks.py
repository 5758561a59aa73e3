"""Webhooks of projects: addresses that are told of builds, and addresses that ask for them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = depends_on = None


def upgrade() -> None:
    """Take the step."""
    op.add_column("project", sa.Column("webhook_secret", sa.String))
    op.create_table(
        "hook",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project_id", sa.Integer, sa.ForeignKey("project.id"), nullable=False),
        sa.Column("url", sa.String, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("created_on", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_hook_project_id", "hook", ["project_id"])
    op.create_table(
        "hook_delivery",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "hook_id", sa.Integer, sa.ForeignKey("hook.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("build_id", sa.Integer),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("created_on", sa.Integer, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due", sa.Integer),
        sa.Column("status", sa.Integer),
        sa.Column("trouble", sa.String),
        sa.Column("ended_on", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_index("deliveries_of_hook", "hook_delivery", ["hook_id", "id"])
    op.create_index("delivery_of_build", "hook_delivery", ["hook_id", "build_id"])
    op.create_index("ix_hook_delivery_due", "hook_delivery", ["due"])
