"""Users and their tokens; a token itself is known only to its user, stored is its hash."""

import datetime
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.exceptions import CoprBackendError
from backend.web.models import Permission, Project, User
from backend.web.states import now
from backend.web.store import hash_token

DAY = 24 * 3600
_NAME = re.compile(r"[A-Za-z0-9_](?:\.?[A-Za-z0-9_-]){0,99}")
RULE = "use letters, digits, dots, dashes and underscores, and begin with a letter or digit"


@dataclass(frozen=True, kw_only=True)
class Token:
    """What the user is told, once."""

    name: str
    login: str
    token: str
    expires_on: int | None

    @property
    def expiration(self) -> str:
        """The day from which it is refused, e.g. 2027-05-23; `never`."""
        return day(self.expires_on)


def day(moment: int | None) -> str:
    """A date for people."""
    if moment is None:
        return "never"
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).date().isoformat()


def is_name(text: str) -> bool:
    """True for a name that is harmless in paths, URLs and HTML."""
    return bool(_NAME.fullmatch(text))


def renew(user: User, days: int) -> Token:
    """Give the user a new token, good for `days` (0: for ever); the old one dies at once."""
    login, token = secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    user.login, user.token_hash = login, hash_token(token)
    user.expires_on = now() + days * DAY if days else None
    return Token(name=user.name, login=login, token=token, expires_on=user.expires_on)


def find(session: Session, name: str) -> User | None:
    """The user of that name."""
    return session.scalar(select(User).where(User.name == name))


def get(session: Session, name: str) -> User:
    """The same; raises CoprBackendError if there is none."""
    user = find(session, name)
    if user is None:
        raise CoprBackendError(f"there is no user {name}: copr_be.py user list shows them")
    return user


def add(session: Session, name: str, days: int) -> Token:
    """A new user; raises CoprBackendError if the name is none, or taken."""
    if not is_name(name):
        raise CoprBackendError(f"{name!r} cannot be the name of a user: {RULE}")
    if find(session, name) is not None:
        raise CoprBackendError(f"there is a user {name} already: copr_be.py user token {name}")
    user = User(name=name, login="", token_hash="")
    token = renew(user, days)
    session.add(user)
    session.flush()
    return token


def remove(session: Session, name: str, *, keep_projects: bool = False) -> None:
    """Forget a user, and what others have allowed him.

    Raises CoprBackendError while he has projects: who gets the name later would own them.
    """
    user = get(session, name)
    owned = select(Project).where(Project.owner == name, Project.deleted_on.is_(None))
    projects = [project.full_name for project in session.scalars(owned)]
    if projects and not keep_projects:
        listed = ", ".join(projects[:5]) + ("…" if len(projects) > 5 else "")
        raise CoprBackendError(
            f"{name} still owns {listed}: delete them first, or give --keep-projects"
            " (then whoever gets the name later owns them)"
        )
    for permission in session.scalars(select(Permission).where(Permission.user_name == name)):
        session.delete(permission)
    session.delete(user)
