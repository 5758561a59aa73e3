"""The part of the `/backend/` namespace that hands out actions."""

import json
from typing import Any

from fastapi import APIRouter
from sqlalchemy import select
from starlette.responses import JSONResponse, Response

from backend.constants import ActionResult, ActionType
from backend.web.errors import ApiError
from backend.web.models import Action
from backend.web.request import Ctx

router = APIRouter(prefix="/backend")
#: Of actions that name none; smaller ones come first.
_PRIORITIES = {ActionType.DELETE: 60, ActionType.GEN_GPG_KEY: -70}
_WAITING = select(Action).where(Action.result == int(ActionResult.WAITING)).order_by(Action.id)


@router.get("/pending-actions")
def pending_actions(ctx: Ctx) -> Response:
    """What waits, in short."""
    with ctx.reading() as session:
        found = [_short(action) for action in session.scalars(_WAITING)]
    return JSONResponse(found)


@router.get("/pending-action-count")
def pending_action_count(ctx: Ctx) -> Response:
    """How many wait."""
    with ctx.reading() as session:
        return JSONResponse(len(session.scalars(_WAITING).all()))


@router.get("/action/{action_id}")
def action_get(ctx: Ctx, action_id: int) -> Response:
    """All of one action."""
    with ctx.reading() as session:
        action = session.get(Action, action_id) if 0 < action_id < 2**31 else None
        if action is None:
            raise ApiError(404, "Specified action ID not found")
        return JSONResponse(_record(action))


def _short(action: Action) -> dict[str, Any]:
    default = _PRIORITIES.get(ActionType(action.action_type), 0)
    priority = action.priority or default
    return {"id": action.id, "priority": priority, "project_owner": action.owner}


def _record(action: Action) -> dict[str, Any]:
    names = ("id", "action_type", "object_type", "object_id", "old_value", "new_value")
    more = ("priority", "result", "message", "created_on", "ended_on")
    record = {name: getattr(action, name) for name in (*names, *more)}
    return record | {"copr_id": action.project_id, "data": json.dumps(action.data)}
