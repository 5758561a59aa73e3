"""Lists of builds by page and by state, at the same cost for each page."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = depends_on = None

_CHROOT = "EXISTS (SELECT 1 FROM build_chroot WHERE build_id = build.id AND status IN ({}))"
#: What `states.final` says. Numbers: 0 failed, 1 succeeded, 2 canceled, 3 running, 4 pending,
#: 5 skipped, 6 starting, 7 importing, 8 forked.
_FINAL = " ".join(
    (
        "UPDATE build SET final = CASE WHEN canceled THEN 2",
        "WHEN source_status IN (3, 4, 6, 7) THEN NULL",
        "WHEN source_status IN (0, 2) THEN source_status",
        f"WHEN {_CHROOT.format('3, 4, 6')} THEN NULL",
        *(f"WHEN {_CHROOT.format(status)} THEN {status}" for status in (0, 1, 5, 8, 2)),
        "ELSE NULL END",
    )
)


def upgrade() -> None:
    """Take the step."""
    op.add_column("build", sa.Column("final", sa.Integer))
    op.execute(_FINAL)
    op.drop_index("ix_build_project_id", "build")
    op.drop_index("build_of_package", "build")
    op.create_index("build_of_package", "build", ["project_id", "pkg_name", "id"])
    op.create_index("build_by_state", "build", ["project_id", "final", "id"])
    op.create_index("package_of_project", "package", ["project_id", "id"])
