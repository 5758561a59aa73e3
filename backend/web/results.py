"""URLs of files: published results, and uploaded packages for the backend."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from backend.web import files, housekeeping
from backend.web.errors import ApiError
from backend.web.names import BINARY_NAME, SRPM_NAME
from backend.web.request import Ctx

router = APIRouter()


@router.api_route("/results", methods=["GET", "HEAD"])
@router.api_route("/results/{path:path}", methods=["GET", "HEAD"])
def results(ctx: Ctx, request: Request, path: str = "/") -> Response:
    """A published file or a listing."""
    return files.serve(ctx.config.destdir, path, request, "/results")


@router.api_route("/tmp/{token}/{name}", methods=["GET", "HEAD"])  # noqa: S108  (a URL)
def upload(ctx: Ctx, request: Request, token: str, name: str) -> Response:
    """An uploaded package, or what a webhook was sent, for who knows its random name."""
    package = SRPM_NAME.fullmatch(name) or BINARY_NAME.fullmatch(name)
    known = package or name == housekeeping.PAYLOAD
    if not token.isalnum() or not known:
        raise ApiError(404, "There is nothing at this address.")
    return files.serve(housekeeping.uploads(ctx), f"{token}/{name}", request, "/tmp")  # noqa: S108
