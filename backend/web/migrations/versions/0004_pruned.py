"""When the packages of a build were pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = depends_on = None


def upgrade() -> None:
    """Take the step."""
    op.add_column("build", sa.Column("pruned_on", sa.Integer))
    op.add_column("build_chroot", sa.Column("pruned_on", sa.Integer))
