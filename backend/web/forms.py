"""Small multipart forms: one part `json`, and perhaps a file."""

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from backend.web.errors import ApiError
from backend.web.request import json_object, parse_object

#: Largest form, in bytes.
MAX_FORM = 16 * 1024**2


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_FORM:
            raise ApiError(413, f"The form is larger than {MAX_FORM} bytes")
        yield chunk


async def form(request: Request, file: str) -> tuple[dict[str, Any], bytes | None]:
    """The object in part `json`, and the contents of the part `file`; a plain JSON body has
    none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        return await json_object(request), None
    parser = MultiPartParser(
        request.headers, _limited(request), max_files=2, max_fields=2, max_part_size=MAX_FORM
    )
    try:
        parts = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise ApiError(400, f"The form is broken: {error}") from error
    found = {}
    try:
        for name in ("json", file):
            part = parts.get(name)
            found[name] = await part.read() if isinstance(part, UploadFile) else part
    finally:
        await parts.close()
    text = found["json"] or b"{}"
    body = parse_object(text if isinstance(text, bytes) else text.encode())
    content = found[file]
    return body, content if isinstance(content, bytes) else None
