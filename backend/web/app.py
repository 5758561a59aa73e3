"""Puts the embedded frontend together."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.config import Config
from backend.constants import API_VERSION, API_VERSION_HEADER
from backend.explain import Explain, nothing
from backend.farmview import Look, nobody
from backend.web import (
    api_account,
    api_builds,
    api_chroots,
    api_forks,
    api_hooks,
    api_monitor,
    api_packages,
    api_permissions,
    api_projects,
    api_promote,
    api_submit,
    backend_actions,
    backend_api,
    batches,
    browser,
    errors,
    hooks,
    live,
    machines,
    metrics,
    openapi,
    page_build,
    page_hooks,
    page_project,
    pages,
    results,
    samples,
    schema,
    webhooks,
)
from backend.web.courier import Courier
from backend.web.hooked import Hooked
from backend.web.render import HERE
from backend.web.store import Context, database_url, make_engine
from backend.web.writer import Wake

_log = logging.getLogger(__name__)
#: U+FFFD, as browsers do it in text.
_INSTEAD = b"%EF%BF%BD"
_NUL = "The address holds a NUL character"
#: In this order: `/coprs/build/…` comes before `/coprs/<owner>/…`.
PARTS = (
    *(backend_api, backend_actions, api_submit, api_builds, api_projects, api_forks),
    *(api_chroots, api_packages, api_monitor, api_permissions, api_account),
    *(api_hooks, api_promote),
    *(results, pages, browser, live, machines, metrics),
    *(page_build, page_hooks, page_project, webhooks),
)


_STAMP = (API_VERSION_HEADER.lower().encode(), str(API_VERSION).encode())


class Door:
    """Makes the final slash of API paths optional, and adds the protocol's version header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        path = scope.get("path", "")
        if "\0" in path:  # no database stores such text
            await JSONResponse({"error": _NUL}, 404)(scope, receive, send)
            return
        if b"%00" in scope.get("query_string", b""):
            scope = {**scope, "query_string": scope["query_string"].replace(b"%00", _INSTEAD)}
        if scope["type"] != "http" or not path.startswith(("/backend/", "/api_3/")):
            await self._app(scope, receive, send)
            return
        path = path.rstrip("/")
        scope = {**scope, "path": path}
        if path.startswith("/api_3"):
            await self._app(scope, receive, send)
            return

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], _STAMP]
            await send(message)

        hot = backend_api.HOT.get(path)
        if hot and scope["method"] in ("POST", "PUT"):
            request = Request(scope, receive)
            try:
                reply = await hot(request)
            except errors.ApiError as error:
                reply = errors.envelope(request, error.status, error.text)
            await reply(scope, receive, stamped)
            return
        await self._app(scope, receive, stamped)


def _harmless(wake: Wake) -> Wake:
    """A wake that fails only costs time: the grabber looks again by itself."""

    def try_to_wake(why: str, tasks: list[dict[str, Any]]) -> None:
        try:
            wake(why, tasks)
        except Exception:  # noqa: BLE001  (whatever it is, the work is stored)
            _log.exception("cannot wake the job grabber; it will look by itself")

    return try_to_wake


def _waker(wake: Wake, hooked: Hooked) -> Wake:
    """Messages of webhooks are this process's own business, all else is the grabber's."""
    outside = _harmless(wake)

    def tell(why: str, tasks: list[dict[str, Any]]) -> None:
        if why == hooks.NEWS:
            hooked.ring()
        else:
            outside(why, tasks)

    return tell


def _lifespan(ctx: Context) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    """What runs beside the requests, from the first to the last."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        schema.prepare(ctx.engine)
        ctx.hooked.begin()
        await hooks.learn(ctx)
        courier = Courier(ctx)
        loop = asyncio.get_running_loop()
        helpers = [loop.create_task(work) for work in (samples.sampling(ctx), courier.run())]
        yield
        for helper in helpers:
            helper.cancel()
        await courier.stop()
        ctx.engine.dispose()

    return lifespan


def create_app(
    config: Config,
    *,
    password: str,
    chroots: tuple[str, ...],
    wake: Wake,
    explain: Explain = nothing,
    look: Look = nobody,
) -> FastAPI:
    """The whole frontend as an ASGI application.

    `password` is what the backend must send to `/backend/`. `chroots` can be built for.
    `wake("new", records)` and `wake("cancel", [])` are called, from any thread, after new work
    or a cancel is in the database; no records mean: look at everything. `explain(task ids)`,
    from any thread, says where unfinished tasks are; `look()` sees the farm.
    """
    engine = make_engine(database_url(config))
    hooked = Hooked()
    ctx = Context.of(
        config,
        password,
        chroots,
        engine,
        _waker(wake, hooked),
        explain=batches.explaining(explain, engine),
        look=look,
        hooked=hooked,
    )
    return _assembled(ctx)


def _assembled(ctx: Context) -> FastAPI:
    app = FastAPI(
        lifespan=_lifespan(ctx),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = ctx
    app.state.routes = [route for part in PARTS for route in part.router.routes]
    errors.install(app)
    app.add_middleware(Door)
    openapi.install(app)
    for part in PARTS:
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app
