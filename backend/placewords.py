"""Checks what the configuration says of this machine: directories, Redis, sizes; pure."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_OWN = ("destdir", "statedir", "rundir", "log_dir")
_REDIS = (
    "write redis://[:PASSWORD@]HOST[:PORT][/NUMBER] or unix:///PATH, special characters of the"
    " password as %XX, or leave it empty"
)
#: With less, not even the shell of a build starts.
_LEAST_MEMORY = 16 * 1024**2
#: Highest user id of the kernel, less those of all slots.
_LAST_UID = 2**32 - 2 - 1000


def wrong_places(config: Any) -> Iterator[str]:
    """One line for each problem of a `Config`, with the remedy."""
    yield from (f"{config.path}: [backend] {problem}" for problem in _directories(config))
    yield from (f"{config.path}: [backend] {problem}" for problem in _redis(config.redis_url))
    yield from (f"{config.path}: [builder] {problem}" for problem in _builder(config))


def _directories(config: Any) -> Iterator[str]:
    places = {key: Path(os.path.normpath(getattr(config, key))) for key in _OWN}
    for key, place in places.items():
        if place == Path("/"):
            yield f"{key} = /: give it a directory of its own"
        elif key != "destdir" and place.is_relative_to(places["destdir"]):
            yield (
                f"{key} = {place}: all below destdir ({places['destdir']}) is published:"
                " choose a directory beside it"
            )


def _redis(url: str) -> Iterator[str]:
    if not url:
        return
    try:
        parts = urlsplit(url)
        number = parts.path.lstrip("/") if parts.scheme != "unix" else ""
        number = number or parse_qs(parts.query).get("db", ["0"])[-1]
        if parts.scheme == "unix":
            good = bool(parts.path)
        else:
            good = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
        good = good and number.isascii() and number.isdigit()
    except ValueError:  # a broken IPv6 address, a port out of range
        good = False
    if not good:
        yield f"redis_url = …: {_REDIS}"


def _builder(config: Any) -> Iterator[str]:
    cgroup = config.builder_cgroup
    if cgroup not in ("auto", "no") and not Path(cgroup).is_absolute():
        yield f"cgroup = {cgroup}: write auto, no, or the absolute path of a directory"
    if 0 < config.builder_build_memory < _LEAST_MEMORY:
        yield f"build_memory = {config.builder_build_memory}: at least 16M, or 0"
    if config.builder_uid > _LAST_UID:
        yield f"uid = {config.builder_uid}: must be at most {_LAST_UID}"
