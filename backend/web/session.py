"""Browsers: logged in by a cookie without a secret of its own; forms that only we have made.

The cookie is `<login>.<end>.<proof>`; the proof is made with the hash of the user's API token,
so a new token ends all sessions, and nothing is to be stored.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import Response

from backend.web import rows
from backend.web.errors import ApiError
from backend.web.models import User
from backend.web.store import Context, hash_token

COOKIE = "copr_session"
#: Seconds until one has to log in again.
LASTS = 30 * 24 * 3600
_MAX_FORM = 64 * 1024


def _proof(user: User, *words: object) -> str:
    text = ":".join(str(word) for word in words)
    return hmac.new(user.token_hash.encode(), text.encode(), hashlib.sha256).hexdigest()


def _expired(user: User, now: float) -> bool:
    return user.expires_on is not None and user.expires_on <= now


async def user_of(request: Request, ctx: Context) -> User | None:
    """Who is logged in."""
    login, _, rest = request.cookies.get(COOKIE, "").partition(".")
    end, _, proof = rest.partition(".")
    if not end.isdecimal() or len(end) > 12 or int(end) < time.time():
        return None
    user = await ctx.read(lambda session: rows.user(session.connection(), login))
    if user is None or _expired(user, time.time()):
        return None
    return user if hmac.compare_digest(proof.encode(), _proof(user, "in", end).encode()) else None


async def log_in(ctx: Context, login: str, token: str) -> tuple[User, str]:
    """The user with this API token, and the cookie's value; ApiError 401 otherwise."""
    user = await ctx.read(lambda session: rows.user(session.connection(), login))
    right = hmac.compare_digest(hash_token(token), user.token_hash if user else hash_token(""))
    if user is None or not right or _expired(user, time.time()):
        raise ApiError(401, "This is no login and API token of a user here.")
    end = int(time.time()) + LASTS
    return user, f"{user.login}.{end}.{_proof(user, 'in', end)}"


def give(response: Response, ctx: Context, value: str) -> None:
    """Set the cookie; an empty value ends the session."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=LASTS if value else 0,
        path="/",
        secure=ctx.config.public_url.startswith("https:"),
        httponly=True,
        samesite="lax",
    )


def form_token(request: Request, user: User | None) -> str:
    """What every form of this session holds; empty without a session."""
    return _proof(user, "form", request.cookies.get(COOKIE, "")) if user else ""


def check_origin(request: Request) -> None:
    """Refuse a form that another site has sent."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != host):
        raise ApiError(403, "This form was sent from another site. Open it here, and try again.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a small form."""
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"application/x-www-form-urlencoded":
        raise ApiError(415, "Send the form as application/x-www-form-urlencoded")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_FORM:
            raise ApiError(413, "The form is too large")
    return _fields(bytes(data))


def _fields(data: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise ApiError(400, "The form cannot be read") from error
    return dict(pairs)


async def owner_of_form(request: Request, ctx: Context, fields: Mapping[str, Any]) -> User:
    """Who sent this form, which was made for his session; ApiError 401 or 403 otherwise."""
    check_origin(request)
    user = await user_of(request, ctx)
    if user is None:
        raise ApiError(401, "Log in first: the link is at the top of each page.")
    given = str(fields.get("form_token", ""))
    if not hmac.compare_digest(given.encode(), form_token(request, user).encode()):
        raise ApiError(403, "This form is of another session. Open it again, and send it again.")
    return user
