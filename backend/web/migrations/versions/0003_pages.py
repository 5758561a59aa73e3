"""Classes of failures, samples for plots, paging through the builds of a project."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = depends_on = None


def upgrade() -> None:
    """Take the step."""
    op.create_table(
        "verdict",
        sa.Column(
            "build_id",
            sa.Integer,
            sa.ForeignKey("build.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("chroot", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("lines", sa.JSON, nullable=False),
    )
    op.create_table(
        "sample",
        sa.Column("at", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("running", sa.Integer, nullable=False),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("succeeded", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
    )
    op.create_index("build_of_project", "build", ["project_id", "id"])
