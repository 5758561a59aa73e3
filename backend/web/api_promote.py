"""API v3, our own: promoting builds, and asking how far that is."""

from urllib.parse import quote

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from backend.web import bodies, names, openapi, permissions, promote, session
from backend.web.errors import ApiError
from backend.web.models import User
from backend.web.queries import get_project
from backend.web.render import HEADERS
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import build_json
from backend.web.store import Context

router = APIRouter()
_PROMOTE = openapi.body(
    {"builds": bodies.BUILDS | {"minItems": 1}, "ownername": bodies.TEXT, "name": bodies.TEXT},
    "builds",
)


def _promote(
    ctx: Context, user: User, source_name: tuple[str, str], target_name: tuple[str, str],
    given: object,
) -> dict[str, object]:  # fmt: skip
    numbers = names.builds(given)
    with ctx.writing() as writing:
        source = get_project(writing, *source_name)
        target = get_project(writing, *target_name)
        if not permissions.may(writing.connection(), user, target, "builder"):
            raise ApiError(403, f"You are not allowed to build in {target.full_name}.")
        action, builds = promote.promote(writing, source, target, numbers, who=user.name)
        items = [build_json(ctx, build) for build in builds]
    return {"action_id": action.id, "builds": items}


@router.post("/api_3/project/promote/{ownername}/{projectname}", openapi_extra=_PROMOTE)
def project_promote(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Promote builds of a project, `builds`, into the project `ownername`/`name`; without these
    to the released packages of the project itself, which publishes by hand."""
    target = (body.get("ownername") or ownername, body.get("name") or projectname)
    if not all(isinstance(word, str) for word in target):
        raise ApiError(400, "ownername, name: must be text")
    return JSONResponse(_promote(ctx, user, (ownername, projectname), target, body.get("builds")))


@router.get("/api_3/project/promotion/{action_id}")
def promotion(ctx: Ctx, action_id: int) -> Response:
    """Whether a promotion is `waiting`, `succeeded` or `failed`, and its `message`."""
    with ctx.reading() as reading:
        found = promote.state(reading, action_id)
    if found is None:
        raise ApiError(404, f"Promotion {action_id} does not exist.")
    return JSONResponse(found)


@router.post("/coprs/{owner}/{name}/promote", include_in_schema=False)
async def promote_form(request: Request, ctx: Ctx, owner: str, name: str) -> Response:
    """The same from the page of a project."""
    fields = await session.read_form(request)
    user = await session.owner_of_form(request, ctx, fields)
    words = fields.get("builds", "").replace(",", " ").split()
    if not all(word.isdecimal() and len(word) < 19 for word in words):
        raise ApiError(400, "builds: must be numbers of builds")
    target_owner, _, target = fields.get("target", "").strip().partition("/")
    where = (target_owner or owner, target or name)
    numbers = [int(word) for word in words]
    await run_in_threadpool(_promote, ctx, user, (owner, name), where, numbers)
    address = f"/coprs/{quote(where[0])}/{quote(where[1])}/#builds"
    return RedirectResponse(address, 303, HEADERS)
