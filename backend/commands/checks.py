"""What `copr_be.py check` looks at. Nothing here changes anything on the machine."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from backend import sign
from backend.builders.cgroup import Nowhere
from backend.builders.plugin import load_builder, try_out
from backend.builders.sandbox import groups
from backend.commands import facts, hostchecks, webchecks
from backend.commands.account import Account
from backend.commands.finding import CONFIGURATION, Finding
from backend.commands.master import Master
from backend.commands.text import size
from backend.config import Config
from backend.daemons.prepare import check_compression, check_tools, not_readable, program_places
from backend.exceptions import ConfigError, CoprBackendError, FrontendRefused
from backend.frontend import Frontend
from backend.identity import Identity
from backend.redis_server import SOCKET_NAME, check_url, connect

#: Free space below which nothing can be built, and below which somebody should know, in bytes.
FULL, LOW = 256 * 1024**2, 5 * 1024**3
#: BLMOVE is from 6.2.
REDIS_NEEDED = (6, 2)


def everything(config: Config, master: Master | None) -> Iterator[Finding]:
    """All checks, in the order in which a start would meet them."""
    yield _daemon(master)
    account = Account.mine()
    try:
        identity = Identity.of(config)
        account = Account.of(identity)
        if identity:
            yield user(config, account)
    except ConfigError as error:
        yield Finding(CONFIGURATION, "fault", str(error))
    yield from directories(config, account)
    yield from disk_space(config)
    yield from tools(config)
    yield compression(config)
    yield builder(config)
    yield from signing(config)
    yield from hostchecks.everything(config, account)
    yield queue_server(config, master)
    if config.embedded:
        yield from webchecks.everything(config, master)
    else:
        yield frontend(config)


def _daemon(master: Master | None) -> Finding:
    if master is None:
        return Finding("daemon", "ok", "not running")
    return Finding("daemon", "ok", f"runs as pid {master.process.pid}")


def user(config: Config, account: Account) -> Finding:
    """The user that the daemon changes to may read the program."""
    for place in program_places():
        if not account.may_read(place):
            return Finding("user", "fault", not_readable(config, place))
    return Finding("user", "ok", f"changes to {config.user or config.group}")


def directories(config: Config, account: Account) -> Iterator[Finding]:
    """Each directory is there and writable, or can be made."""
    for key in ("destdir", "statedir", "rundir", "log_dir"):
        path: Path = getattr(config, key)
        remedy = f"correct {key} in {config.path}, or the directory's owner"
        try:
            place = existing(path)
            # Who starts the daemon makes what is missing, and gives it to the user.
            maker = account if place == path else Account.mine()
            if not stat.S_ISDIR(place.stat().st_mode):
                yield Finding(key, "fault", f"{path}: {place} is no directory: {remedy}")
            elif not maker.may_write(place):
                yield Finding(key, "fault", f"{path}: {place} is not writable: {remedy}")
            else:
                yield Finding(key, "ok", str(path) if place == path else f"{path}, will be made")
        except OSError as error:
            where = f"{path}"[:200]
            yield Finding(key, "fault", f"{where}: {error.strerror}: {remedy}")


def existing(path: Path) -> Path:
    """The path, or the nearest of its parents that is there, be it a link to nowhere.

    Raises OSError for one that can be nowhere, e.g. with a name that is too long.
    """
    while True:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            return path
        path = path.parent


def disk_space(config: Config) -> Iterator[Finding]:
    """Room for builds (statedir) and results (destdir)."""
    for key in ("statedir", "destdir"):
        try:
            place = existing(getattr(config, key))
            free = shutil.disk_usage(place).free
        except OSError:
            continue  # already told among the directories
        text = f"{size(free)} free in {place}"
        if free < FULL:
            yield Finding(f"space for {key}", "fault", f"{text}: make room, or move {key}")
        elif free < LOW:
            yield Finding(f"space for {key}", "warning", f"{text}: large packages need more")
        else:
            yield Finding(f"space for {key}", "ok", text)


def tools(config: Config) -> Iterator[Finding]:
    """The programs that every farm needs."""
    try:
        for tool, path in check_tools(config).items():
            yield Finding(tool, "ok", path)
    except CoprBackendError as error:
        yield Finding("tools", "fault", str(error))


def compression(config: Config) -> Finding:
    """What compresses metadata: found now, and not by the first build that is published."""
    try:
        return Finding("metadata", "ok", f"compressed with {check_compression(config)}")
    except CoprBackendError as error:
        return Finding("metadata", "fault", str(error))


def builder(config: Config) -> Finding:
    """The builder's own programs, and its sandbox: tried for real."""
    name = f"builder {config.builder_type}"
    try:
        made = load_builder(config)
        try_out(config, made)
        chroots = ", ".join(map(str, made.chroots()))
    except ConfigError as error:
        return Finding(CONFIGURATION, "fault", str(error))
    except CoprBackendError as error:
        return Finding(name, "fault", str(error))
    except OSError as error:
        return Finding(name, "fault", f"{error}: correct that, then check again")
    describe = getattr(made, "describe", None)
    limits = f"; limits of a build: {describe()}" if describe else ""
    text = f"it works here; builds {chroots}{limits}"
    unusual = config.builder_cgroup not in ("auto", "no")
    if unusual and isinstance(groups(config), Nowhere):
        return Finding(name, "warning", f"{text}: correct [builder] cgroup")
    return Finding(name, "ok", text)


def signing(config: Config) -> Iterator[Finding]:
    """What signs is there; nothing is signed to find out."""
    if not sign.signs(config):
        return
    faults = []
    secret = config.signing_passphrase_file
    if config.signing_backend == sign.GPG and secret:
        try:
            if not Path(secret).is_file() and Path(secret).exists():
                faults.append(f"passphrase_file {secret}: it is no file: name another")
            elif not Path(secret).read_bytes().partition(b"\n")[0]:
                faults.append(f"{secret}: its first line is empty: write the passphrase there")
        except OSError as error:
            faults.append(f"passphrase_file {secret}: {error.strerror}: make it readable")
    if config.signing_backend == sign.OBS and not os.access(config.signing_program, os.X_OK):
        faults.append(
            f"{config.signing_program} is not there: install obs-sign, or correct program"
        )
    for fault in faults:
        yield Finding("signing", "fault", fault)
    if not faults:
        yield Finding("signing", "ok", f"by {config.signing_backend}")


def queue_server(config: Config, master: Master | None) -> Finding:
    """Redis answers and is new enough, or a private one can be started."""
    if not config.redis_url and master is None:
        socket = config.rundir / SOCKET_NAME
        if len(str(socket)) > 107:
            return Finding("redis", "fault", f"{socket} is too long for a unix socket:"
                           " choose a shorter rundir")  # fmt: skip
        return Finding("redis", "ok", "a private redis-server starts with the daemon")
    try:
        check_url(config)
    except ConfigError as error:
        return Finding(CONFIGURATION, "fault", str(error))
    client = connect(config, timeout=5.0)
    try:
        info = client.info()
    except (redis.RedisError, OSError, ValueError) as error:
        remedy = ": correct redis_url, or start it" if config.redis_url else ""
        return Finding("redis", "fault", f"{facts.where(config)}: {facts.trouble(error)}{remedy}")
    finally:
        client.close()
    return _judge_redis(facts.where(config), info)


def _judge_redis(where: str, info: dict[str, Any]) -> Finding:
    version = str(info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < REDIS_NEEDED:
        return Finding("redis", "fault", f"{where} is version {version}: 6.2 or newer is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and policy != "noeviction":
        return Finding("redis", "warning", f"{where} may throw tasks away when it is full"
                       f" (maxmemory-policy {policy}): set noeviction")  # fmt: skip
    return Finding("redis", "ok", f"{where}, version {version}")


def frontend(config: Config) -> Finding:
    """A real frontend answers, and takes our password."""
    name = "frontend"
    if not config.frontend_auth:
        text = f"{config.path}: frontend_auth is empty: set it to the frontend's BACKEND_PASSWORD"
        return Finding(CONFIGURATION, "fault", text)
    client = Frontend(config.frontend_url, config.frontend_auth, timeout=10)
    try:
        tasks, problems = client.pending()
        client.update([])  # reading is open to everybody: only a report tries the password
    except FrontendRefused as error:
        return Finding(name, "fault", f"{error}: check frontend_base_url")
    except CoprBackendError as error:
        return Finding(name, "fault", str(error))
    finally:
        client.close()
    if problems:
        return Finding(name, "warning", f"{config.frontend_url}: {problems[0]}")
    text = f"{config.frontend_url} answers and takes the password; {len(tasks)} tasks unfinished"
    return Finding(name, "ok", text)
