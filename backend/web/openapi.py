"""The description of API v3 for machines, served at `/api_3/openapi.json`."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backend import __version__

PATH = "/api_3/openapi.json"
_STRINGS = ("ownername", "projectname", "package_name", "name")
_URL_FIELDS = {"pkgs": {"type": "array", "items": {"type": "string"}, "minItems": 1}}


def body(*needed: str, form: bool = False) -> dict[str, Any]:
    """`openapi_extra` of a handler that reads a JSON object itself; `needed` are its fields."""
    fields = {
        name: _URL_FIELDS.get(name, {"type": "string"} if name in _STRINGS else {})
        for name in needed
    }
    schema = {"type": "object", "properties": fields, "required": list(needed)}
    if not needed:
        del schema["required"]
    content = {"application/json": {"schema": schema}}
    if form:
        content = {"multipart/form-data": {"schema": {"type": "object"}}}
    return {"requestBody": {"required": True, "content": content}}


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}, "output": {"type": "string"}},
}
_CREATE_URL = {
    "post": {
        "summary": "One build for each URL",
        "operationId": "create_url",
        **body("ownername", "projectname", "pkgs"),
        "responses": {"200": {"description": "The builds"}},
        "security": [{"token": []}],
    }
}


def _describe(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title="Copr API v3 of copr-backend",
        version=__version__,
        description="The API that copr-cli speaks. Reading is anonymous.",
        routes=app.routes,
    )
    paths = found["paths"].items()
    found["paths"] = {path: what for path, what in paths if path.startswith("/api_3/")}
    found["paths"]["/api_3/build/create/url"] = _CREATE_URL
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    schemas["Error"] = _ERROR
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
