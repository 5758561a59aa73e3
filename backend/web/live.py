"""A live log followed by many: one look at the file for all of them, each at his own offset.

`/coprs/build/<id>/log/<task>` is a page, `/coprs/build/<id>/follow/<task>` a stream of
server-sent events whose ids are byte offsets, so that a browser that lost the connection goes on
where it was. The file itself stays at `/results/…/builder-live.log`, with byte ranges.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backend.layout import BUILDER_LOG
from backend.web import files
from backend.web.errors import ApiError
from backend.web.page_build import directory, tasks
from backend.web.queries import get_build
from backend.web.request import Ctx, context
from backend.web.show import Shown
from backend.web.store import Context
from backend.web.tailer import PIECE, Tailers, encode, whole

router = APIRouter()
#: Seconds between signs of life.
BEAT = 20.0
#: Bytes of one page of a log.
PAGE = 128 * 1024


def _where(ctx: Context, build_id: int, task: str) -> Path:
    with ctx.reading() as session:
        found = directory(get_build(session, build_id), task)
    if found is None:
        raise ApiError(404, "This task has no log yet.")
    return ctx.config.destdir / found / BUILDER_LOG


async def stream(tailers: Tailers, path: Path, offset: int) -> AsyncIterator[bytes]:
    """Events from `offset` on, until the log is complete; signs of life in between."""
    yield b"retry: 2000\n\n"
    with tailers.following(path) as tailer:
        inode = tailer.inode
        while not tailer.gone:
            grown = tailer.grown
            if tailer.inode != inode or offset > tailer.size:
                inode, offset = tailer.inode, 0
                yield b"event: restart\nid: 0\ndata: 0\n\n"
            event, end = tailer.event(offset)
            if event:
                offset = end
                yield event
                continue
            if tailer.gone:
                break
            try:
                await asyncio.wait_for(grown.wait(), BEAT)
            except TimeoutError:
                yield b": alive\n\n"
    async for event in _rest(path, offset):
        yield event
    yield b"event: end\ndata: 0\n\n"


async def _rest(path: Path, offset: int) -> AsyncIterator[bytes]:
    """What a reader has not seen yet of a log that was compressed meanwhile."""
    found = await run_in_threadpool(files.open_log, path.parent, path.name)
    if found is None:
        return
    with found.file:  # opened once: to find a place in a compressed log is to read up to there
        await run_in_threadpool(found.file.seek, offset)
        left = b""
        while data := left + await run_in_threadpool(found.file.read, PIECE - len(left)):
            good = whole(data) if len(data) == PIECE else data
            left = data[len(good) :]
            offset += len(good)
            yield encode(good, offset)


def piece(path: Path, offset: int, length: int) -> bytes:
    """Bytes of a log, compressed or not; none beyond its end."""
    found = files.open_log(path.parent, path.name)
    if found is None or offset >= found.size:
        return b""
    with found.file:
        found.file.seek(offset)
        return found.file.read(length)


async def follow(request: Request) -> Response:
    """The stream of one task's log."""
    ctx = context(request)
    number, task = int(request.path_params["build_id"]), request.path_params["task"]
    given = request.headers.get("last-event-id") or request.query_params.get("offset", "0")
    offset = int(given) if given.isdecimal() and len(given) < 17 else 0
    path = await run_in_threadpool(_where, ctx, number, task)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = stream(ctx.tailers, path, offset)
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


# A plain route: hundreds may follow one log.
router.add_route("/coprs/build/{build_id:int}/follow/{task}", follow, methods=["GET"])


@router.get("/coprs/build/{build_id}/log/{task}")
def log_page(
    ctx: Ctx,
    viewer: Shown,
    build_id: int,
    task: str,
    offset: Annotated[int | None, Query(ge=0, le=2**60)] = None,
) -> Response:
    """A log in pages of some bytes, the last one by default; with JavaScript it goes on."""
    with ctx.reading() as session:
        build = get_build(session, build_id)
        known = {item["name"]: item for item in tasks(ctx, build)}
        owner = f"{build.project.owner}/{build.project.name}"
    if task not in known:
        raise ApiError(404, f"Build {build_id} has no task {task[:100]}.")
    item = known[task]
    size = item["log_size"] or 0
    start = max(0, size - PAGE) if offset is None else min(offset, size)
    path = _where(ctx, build_id, task) if item["log"] else None
    data = whole(piece(path, start, PAGE)) if path else b""
    if start and offset is None:  # begin with a whole line
        cut = data.find(b"\n") + 1
        start, data = start + cut, data[cut:]
    text = data.decode("utf-8", "replace")
    end = start + len(data)
    live = item["state"] in ("running", "starting", "pending") and end >= size
    return viewer.page(
        "log.html",
        build_id=build_id,
        owner=owner,
        task=item,
        text=text,
        start=start,
        end=end,
        size=size,
        live=live,
        previous=max(0, start - PAGE) if start else None,
        following=end if end < size else None,
    )
