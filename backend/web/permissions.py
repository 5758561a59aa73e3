"""Who may do what in a project: its owner everything, others what the owner has approved.

The numbers and words are Copr's own: a `builder` submits and cancels builds, an `admin` also
changes the project.
"""

from sqlalchemy import Connection, select

from backend.web.models import Permission, Project, User

NOTHING, REQUEST, APPROVED = 0, 1, 2
WORDS = ("nothing", "request", "approved")
ROLES = ("admin", "builder")


def may(connection: Connection, user: User, project: Project, role: str) -> bool:
    """May the user act as `role` (builder or admin) in the project?"""
    if project.owner == user.name:
        return True
    query = select(Permission.admin, Permission.builder).where(
        Permission.project_id == project.id, Permission.user_name == user.name
    )
    row = connection.execute(query).first()
    if row is None:
        return False
    return row.admin == APPROVED or (role == "builder" and row.builder == APPROVED)
