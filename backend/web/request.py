"""What handlers ask of a request: context, JSON body, who is it."""

import base64
import binascii
import hmac
import json
import math
import re
import time
from typing import Annotated, Any

from fastapi import Depends, Request

from backend.web import rows
from backend.web.errors import ApiError
from backend.web.models import User
from backend.web.store import Context, hash_token

#: Largest JSON body, in bytes.
MAX_BODY = 64 * 1024**2
#: The escape of a NUL character, after whole escapes of backslashes.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def context(request: Request) -> Context:
    """The application's context."""
    found: Context = request.app.state.context
    return found


async def _context(request: Request) -> Context:
    return context(request)


Ctx = Annotated[Context, Depends(_context)]


async def json_object(request: Request) -> dict[str, Any]:
    """The body, which must be a JSON object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "Send the body as Content-Type: application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise ApiError(413, f"The body is larger than {MAX_BODY} bytes")
    return parse_object(bytes(data))


def _without(escape: re.Match[bytes]) -> bytes:
    return escape[1] + b"\\ufffd"


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object whose texts can be stored; ApiError for anything else.

    A NUL character becomes U+FFFD, as browsers do it: no database stores it.
    """
    try:
        if b"\\u0000" in data:
            data = _NUL.sub(_without, data)
        body = json.loads(data)
        if b"\\u" in data:  # only so can text be no text
            _ = json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is no JSON: {str(error)[:200]}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object")
    return body


JsonObject = Annotated[dict[str, Any], Depends(json_object)]


def credentials(request: Request) -> tuple[str, str]:
    """Name and password of HTTP Basic; both empty without (or with unreadable) ones."""
    scheme, _, code = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(code, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, password


def check_backend(request: Request, ctx: Context) -> None:
    """Only the backend may go on; its user name does not matter."""
    given = credentials(request)[1].encode()
    if not ctx.password or not hmac.compare_digest(given, ctx.password.encode()):
        raise ApiError(401, "You have to provide the correct password")


async def require_backend(request: Request, ctx: Ctx) -> None:
    """The same, for FastAPI."""
    check_backend(request, ctx)


async def current_user(request: Request, ctx: Ctx) -> User:
    """The user whose API token came with the request, or the 401 that clients know."""
    login, token = credentials(request)
    login = login.replace("\0", "")
    user = await ctx.read(lambda session: rows.user(session.connection(), login))
    right = hmac.compare_digest(hash_token(token), user.token_hash if user else hash_token(""))
    if user is None or not right or (user.expires_on or math.inf) <= time.time():
        raise ApiError(
            401,
            f"Login invalid/expired. Please visit {ctx.config.public_url}/api"
            " to get or renew your API token.",
        )
    return user


CurrentUser = Annotated[User, Depends(current_user)]
