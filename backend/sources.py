"""Gets a source package: from an upload, from a URL, or from our own results."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3

from backend.constants import Source
from backend.exceptions import BuildError, FrontendError
from backend.job import RpmTask, SourceTask

_CHUNK = 1 << 20
_SUFFIXES = (".src.rpm", ".nosrc.rpm")


def source_url(task: SourceTask) -> str:
    """The URL that a source task of type link or upload names; raises BuildError otherwise."""
    if task.source_type not in (Source.LINK, Source.UPLOAD):
        raise BuildError(
            f"source type {task.source_type.name.lower()} is not supported by this backend:"
            " submit a source RPM by file or URL"
        )
    url = task.source.get("url")
    if not isinstance(url, str) or urlsplit(url).scheme not in ("http", "https"):
        raise BuildError(f"{str(url)[:200]!r} is no http:// or https:// address of a source RPM")
    name = unquote(urlsplit(url).path).rsplit("/", 1)[-1]
    if not name.endswith(_SUFFIXES):
        raise BuildError(f"{url} names no source RPM: its name must end in .src.rpm")
    return url


def download(url: str, target: Path, limit: int, *, timeout: float = 60.0) -> None:
    """Fetch `url` into the file `target`, at most `limit` bytes.

    Raises BuildError when the server refuses it (4xx) or it is too large, FrontendError when
    nobody answers or the transfer breaks off: that is worth another try.
    """
    http = urllib3.PoolManager(
        retries=urllib3.Retry(total=3, redirect=5, status=0, raise_on_redirect=False),
        timeout=urllib3.Timeout(connect=min(timeout, 20.0), read=timeout),
    )
    try:
        with (
            http.request("GET", url, preload_content=False, decode_content=False) as reply,
            target.open("wb") as file,
        ):
            if reply.status != 200:
                _refuse(url, reply)
            size = 0
            for chunk in reply.stream(_CHUNK):
                size += len(chunk)
                if size > limit:
                    raise BuildError(f"{url} is larger than {limit} bytes ([builder] max_download)")
                file.write(chunk)
            file.flush()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise FrontendError(f"cannot fetch {url}: {error}") from error
    finally:
        http.clear()


def _refuse(url: str, reply: urllib3.BaseHTTPResponse) -> None:
    if reply.status >= 500 or reply.status in (408, 429):
        raise FrontendError(f"cannot fetch {url}: the server answered {reply.status}")
    raise BuildError(
        f"cannot fetch {url}: the server answered {reply.status} {reply.reason or ''}".rstrip()
        + ": check the address"
    )


def published_srpm(task: RpmTask, destdir: Path, results_url: str) -> Path | None:
    """The task's source package on our own disk, if its URL is one of our results."""
    prefix = results_url.rstrip("/") + "/"
    if not task.srpm_url or not task.srpm_url.startswith(prefix):
        return None
    path = destdir / unquote(task.srpm_url.removeprefix(prefix))
    root = os.path.realpath(destdir)
    return path if os.path.realpath(path).startswith(root + os.sep) and path.is_file() else None
