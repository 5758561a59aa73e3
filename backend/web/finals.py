"""Keeps `Build.final` for what changes builds through the ORM, whoever does."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from backend.web import states
from backend.web.models import Build, BuildChroot


@event.listens_for(Session, "before_flush")
def _keep(session: Session, _context: Any, _instances: Any) -> None:
    for build in set(_touched(session)):
        final = states.final(build)
        if build.final != final:
            build.final = final


def _touched(session: Session) -> Iterator[Build]:
    for item in (*session.new, *session.dirty):
        if isinstance(item, Build):
            yield item
        elif isinstance(item, BuildChroot) and item.build_id is not None:
            build = session.get(Build, item.build_id)
            if build is not None:
                yield build
