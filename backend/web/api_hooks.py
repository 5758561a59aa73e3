"""API v3: webhooks of a project. `generate` is Copr's, the rest our own."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from backend.web import bodies, hooks, openapi
from backend.web.api_projects import own_project
from backend.web.models import Delivery, Hook, Project, User
from backend.web.request import Ctx, CurrentUser, JsonObject
from backend.web.shapes import page, project_json

router = APIRouter(prefix="/api_3/webhook")
_HOOK = openapi.body({"url": bodies.NAME, "secret": bodies.TEXT}, "url")


def mine(session: Session, user: User, owner: str, name: str) -> Project:
    """A project whose webhooks the user may see and change."""
    return own_project(session, user, owner, name, "change webhooks of")


def _hook(hook: Hook) -> dict[str, Any]:
    shown = {"id": hook.id, "url": hook.url, "created_on": hook.created_on}
    return shown | {"signed": bool(hook.secret)}


def _delivery(delivery: Delivery) -> dict[str, Any]:
    names = ("id", "event", "build_id", "created_on", "tries", "status", "trouble", "ended_on")
    shown = {name: getattr(delivery, name) for name in names}
    return shown | {"delivery": delivery.name, "state": state(delivery), "due": delivery.due}


def state(delivery: Delivery) -> str:
    """In one word, how it is going."""
    if delivery.due is not None:
        return "waiting"
    return "failed" if delivery.trouble else "delivered"


@router.post("/generate/{ownername}/{projectname}")
def generate(ctx: Ctx, user: CurrentUser, ownername: str, projectname: str) -> Response:
    """New addresses at which forges ask for builds; the old ones are good no more."""
    with ctx.writing() as session:
        project = mine(session, user, ownername, projectname)
        project.webhook_secret = hooks.new_secret()
        reply = project_json(ctx, project) | {"webhook_secret": project.webhook_secret}
    return JSONResponse(reply)


@router.get("/list")
def listed(ctx: Ctx, user: CurrentUser, ownername: str, projectname: str) -> Response:
    """The addresses that are told of finished builds."""
    with ctx.reading() as session:
        project = mine(session, user, ownername, projectname)
        return JSONResponse(page([_hook(hook) for hook in hooks.of(session, project)]))


@router.post("/add/{ownername}/{projectname}", openapi_extra=_HOOK)
def add(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, body: JsonObject
) -> Response:
    """Tell one more address; a `secret` signs the messages."""
    with ctx.writing() as session:
        project = mine(session, user, ownername, projectname)
        hook = hooks.add(session, project, body.get("url"), body.get("secret"))
        reply = _hook(hook)
    ctx.hooked.learn([project.id])
    return JSONResponse(reply)


@router.post("/delete/{ownername}/{projectname}/{hook_id}", operation_id="webhook_delete_post")
@router.delete("/delete/{ownername}/{projectname}/{hook_id}")
def remove(ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, hook_id: int) -> Response:
    """Tell it nothing more."""
    with ctx.writing() as session:
        hook = hooks.get(session, mine(session, user, ownername, projectname), hook_id)
        reply = _hook(hook)
        hooks.remove(session, [hook])
    return JSONResponse(reply)


@router.post("/ping/{ownername}/{projectname}/{hook_id}")
def ping(ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, hook_id: int) -> Response:
    """Send a message that tries the address."""
    with ctx.writing() as session:
        project = mine(session, user, ownername, projectname)
        hook = hooks.get(session, project, hook_id)
        hooks.ping(session, project, hook)
        reply = _hook(hook)
    return JSONResponse(reply)


@router.get("/deliveries/{ownername}/{projectname}/{hook_id}")
def deliveries(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, hook_id: int
) -> Response:
    """What was sent lately, newest first, and how it went."""
    with ctx.reading() as session:
        hook = hooks.get(session, mine(session, user, ownername, projectname), hook_id)
        items = [_delivery(found) for found in hooks.deliveries(session, hook, hooks.SHOWN)]
    return JSONResponse(page(items, order_type="DESC"))


@router.post("/redeliver/{ownername}/{projectname}/{delivery_id}")
def redeliver(
    ctx: Ctx, user: CurrentUser, ownername: str, projectname: str, delivery_id: int
) -> Response:
    """Send a message once more."""
    with ctx.writing() as session:
        project = mine(session, user, ownername, projectname)
        reply = _delivery(hooks.again(session, project, delivery_id))
    return JSONResponse(reply)
