"""Errors that requests end with, in the envelope of whoever asked."""

import errno
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match

from backend.web.render import HEADERS, render

_NO_ROOM = "This server's disk is full. Try again later."


class ApiError(Exception):
    """The request is refused with this HTTP status and this text, perhaps with headers."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def envelope(request: Request, status: int, text: str) -> Response:
    """`text` as JSON for programs, as a page for people."""
    path = request.url.path
    if path.startswith("/api_3"):
        body = {"error": text}
        return JSONResponse({"output": "notok", **body} if status == 401 else body, status)
    if path.startswith("/backend"):
        if status == 401:
            return HTMLResponse(text, status)
        return JSONResponse({"msg": text}, status)
    return HTMLResponse(render("error.html", status=status, text=text), status, HEADERS)


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    reply = envelope(request, error.status, error.text)
    reply.headers.update(error.headers)
    return reply


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    text = str(error.detail)
    if error.status_code == 404:
        api = request.url.path.startswith("/api_3")
        text = "Such API endpoint doesn't exist" if api else "There is nothing at this address."
    elif error.status_code == 405:
        text = f"{request.method} is not possible here"
    reply = envelope(request, error.status_code, text)
    if error.headers:
        reply.headers.update(error.headers)
    if error.status_code == 405:
        reply.headers["Allow"] = ", ".join(_methods(request))
    return reply


def _methods(request: Request) -> list[str]:
    """What is possible at an address, which may have a route for each method."""
    found: set[str] = set()
    for route in request.app.state.routes:
        if route.matches(request.scope)[0] != Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    lines = []
    for problem in error.errors():
        name = problem["loc"][-1] if problem["loc"] else "request"
        missing = problem["type"] == "missing"
        lines.append(f"Missing argument {name}" if missing else f"{name}: {problem['msg']}")
    if request.url.path.startswith(("/api_3", "/backend")):
        return envelope(request, 400, "\n".join(lines))
    return envelope(request, 404, "There is nothing at this address.")


def _os_error(request: Request, error: Exception) -> Response:
    """Other errors of the disk than a full one are crashes."""
    assert isinstance(error, OSError)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return envelope(request, 507, _NO_ROOM)


def _database_error(request: Request, error: Exception) -> Response:
    """The same, of the database."""
    if "disk is full" not in str(error) and "No space left" not in str(error):
        raise error
    return envelope(request, 507, _NO_ROOM)


def _crash(request: Request, _error: Exception) -> Response:
    return envelope(request, 500, "The frontend failed; its log tells why. Try again later.")


def install(app: FastAPI) -> None:
    """Have `app` answer every error in its envelope."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(OSError, _os_error)
    app.add_exception_handler(OperationalError, _database_error)
    app.add_exception_handler(Exception, _crash)
