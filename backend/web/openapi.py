"""The description of API v3 for machines, served at `/api_3/openapi.json`."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backend import __version__
from backend.web import bodies

PATH = "/api_3/openapi.json"


def whole(schema: Mapping[str, Any], kind: str = "application/json") -> dict[str, Any]:
    """`openapi_extra` of a handler that reads its body itself: something of this schema."""
    return {"requestBody": {"required": True, "content": {kind: {"schema": dict(schema)}}}}


def body(fields: Mapping[str, bodies.Schema], *needed: str) -> dict[str, Any]:
    """The same for an object with these fields, some of them `needed`."""
    return whole(bodies.record(fields, *needed))


def form(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a form."""
    return whole(schema, "multipart/form-data")


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "output": {"type": "string"}},
}
_CREATE_URL = {
    "post": {
        "summary": "One build for each URL",
        "operationId": "create_url",
        **body(bodies.URLS, *bodies.TARGET, "pkgs"),
        "responses": {"200": {"description": "The builds"}},
        "security": [{"token": []}],
    }
}


def _describe(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title="Copr API v3 of copr-backend",
        version=__version__,
        description="The API that copr-cli speaks. Reading is anonymous.",
        routes=[route for route in app.state.routes if route.path.startswith("/api_3/")],
    )
    found["paths"]["/api_3/build/create/url"] = _CREATE_URL
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = _ERROR
    schemas["Chroot"] = {"type": "string", "enum": list(app.state.context.chroots)}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"]["4XX"] = {"description": "Refused", "content": content}
    found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "basic"}}
    return found


def install(app: FastAPI) -> None:
    """Serve the description; it is made when somebody asks for the first time."""
    made: list[dict[str, Any]] = []

    async def serve(_: Request) -> Response:
        if not made:
            made.append(_describe(app))
        return JSONResponse(made[0])

    app.router.add_route(PATH, serve, methods=["GET"], include_in_schema=False)
