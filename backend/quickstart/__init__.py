"""`copr_be.py quickstart`: a complete farm below one directory, and a first build in it.

Starts the daemon as a child, builds the sample package through the public API as any user
would, and goes on serving. Knows nothing of the daemon's inside but its notify messages.
"""

import configparser
import os
import sys
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from backend.config import Config, load
from backend.constants import Exit
from backend.exceptions import BuildError, ConfigError, CoprBackendError, Stopped, ToolError
from backend.process import find
from backend.process import run as run_program
from backend.quickstart.client import Build, Client
from backend.quickstart.daemon import Daemon
from backend.quickstart.follow import Unfinished, follow, say

PROJECT = "sample"
PACKAGE = "coprhello"
#: Longest time from the daemon's start until it serves.
START_LIMIT = 60.0
#: Longest time that the sample package may take.
BUILD_LIMIT = 900.0
#: A unix socket's path has at most 107 bytes; the rest is for the socket's own name.
LONGEST_RUNDIR = 70


def run(state: Path, *, once: bool, port: int | None) -> int:
    """Serve from `state` until SIGINT or SIGTERM, or with `once` until the sample is published.

    Returns an exit code; raises CoprBackendError with the reason when that is not 0.
    """
    config = prepare(state.absolute(), port)
    overrides = {"web.port": str(port)} if port is not None else {}
    say(f"configuration {config.path}")
    grace = config.stop_timeout + 2
    with Daemon(config.path, overrides, rundir=config.rundir, grace=grace) as daemon:
        try:
            daemon.wait_ready(START_LIMIT, on_status=say)
            try_sample(config, daemon, state.absolute() / "sample", once=once)
            if not once:
                say("Serving until Ctrl-C.")
                daemon.wait_end()
        except Stopped:
            if once:
                raise CoprBackendError("stopped before the sample package was published") from None
            say("stopping")
        except (BuildError, ToolError) as error:
            raise CoprBackendError(f"the sample package was not published: {error}") from error
    return Exit.OK


def prepare(state: Path, port: int | None) -> Config:
    """Write `state`/copr-be.conf unless it is there, and load it."""
    path = state / "copr-be.conf"
    try:
        state.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(render_config(state, port))
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}: name another directory with --state"
        ) from error
    config = load(path, {"web.port": str(port)} if port is not None else {})
    _check_rundir(config)
    return config


def render_config(state: Path, port: int | None) -> str:
    """A configuration that keeps everything below `state` and leaves the rest at defaults."""
    rundir = state / "run"
    if len(os.fsencode(rundir)) > LONGEST_RUNDIR:
        rundir = Path(tempfile.mkdtemp(prefix="copr-be-", dir="/tmp"))
    lines = [
        "# Written by `copr_be.py quickstart`; `copr_be.py example-config` explains every key.",
        "[backend]",
        f"destdir = {state / 'results'}",
        f"statedir = {state / 'state'}",
        f"rundir = {rundir}",
        f"log_dir = {state / 'log'}",
        "",
        "[web]",
        f"cli_config = {state / 'copr-cli.conf'}",
        *([f"port = {port}"] if port is not None else []),
    ]
    return "\n".join(lines) + "\n"


def _check_rundir(config: Config) -> None:
    """Make the directory of sockets again if it is gone, and trust only our own."""
    try:
        config.rundir.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = config.rundir.stat().st_uid
    except OSError as error:
        raise ConfigError(
            f"rundir {config.rundir}: {error.strerror}: correct it in {config.path}"
        ) from error
    if owner != os.geteuid():
        raise ConfigError(
            f"rundir {config.rundir} belongs to another user: run as that user,"
            f" or correct rundir in {config.path}"
        )


def try_sample(config: Config, daemon: Daemon, workdir: Path, *, once: bool) -> None:
    """Who wants to be served is, even if the sample waits behind long builds of earlier days."""
    try:
        first_build(config, daemon, workdir)
    except Unfinished as error:
        if once:
            raise
        say(f"{error}: {config.public_url} tells why")


def first_build(config: Config, daemon: Daemon, workdir: Path) -> None:
    """Build the sample package as a user would; prints where it is and what to type next."""
    username, login, token = credentials(config.web_cli_config, config.public_url)
    srpm = pack(workdir)
    say(f"packed {srpm.name}")
    with Client(config.public_url, login=login, token=token) as client:
        if client.ensure_project(username, PROJECT):
            say(f"created project {username}/{PROJECT}")
        build = client.submit(username, PROJECT, srpm)
        say(f"submitted build {build.id}")
        build = follow(client, daemon, build.id, limit=BUILD_LIMIT)
        if build.state != "succeeded":
            raise BuildError(f"build {build.id} {build.state}: {page_url(config, build)}")
        repository = client.repository(username, PROJECT)
        client.check_published(repository)
    say("")
    for line in summary(config, build, repository, srpm):
        say(line)


def credentials(path: Path, url: str) -> tuple[str, str, str]:
    """User name, login and token from a copr-cli configuration.

    It was written at the first start; `url` goes into it if that has changed since (--port).
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text())
        section = parser["copr-cli"]
        found = section["username"], section["login"], section["token"]
        if section.get("copr_url") != url:
            section["copr_url"] = url
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                parser.write(file)  # mode 0600
            Path(file.name).replace(path)
    except (OSError, KeyError, configparser.Error) as error:
        raise ConfigError(
            f"copr-cli configuration {path} cannot be used ({' '.join(str(error).split())}):"
            " remove it and start again"
        ) from error
    return found


def pack(workdir: Path) -> Path:
    """Make the sample's source package in `workdir`, as a packager would with rpmbuild -bs."""
    workdir.mkdir(parents=True, exist_ok=True)
    for old in workdir.glob("*.src.rpm"):
        old.unlink()
    with as_file(files("backend") / "sample") as sources:
        result = run_program(
            [
                *(find("rpmbuild"), "-bs", "--nodeps"),
                *("-D", f"_topdir {workdir}", "-D", f"_sourcedir {sources}"),
                *("-D", f"_srcrpmdir {workdir}", "-D", f"_dbpath {workdir}"),
                str(sources / f"{PACKAGE}.spec"),
            ],
            timeout=60,
        )
    made = [*workdir.glob("*.src.rpm")]
    if result.code or not made:
        raise ToolError(f"rpmbuild -bs failed: {result.last_line}")
    return made[0]


def page_url(config: Config, build: Build) -> str:
    """The build's page, for people."""
    return f"{config.public_url}/coprs/build/{build.id}"


def summary(config: Config, build: Build, repository: str, srpm: Path) -> list[str]:
    """Where the result is, and the three lines that a dnf or copr-cli user types next."""
    # On Debian dnf has no system of its own to install into.
    root = f" --installroot={srpm.parent / 'root'}" if Path("/usr/bin/dpkg").exists() else ""
    sudo = "" if os.geteuid() == 0 else "sudo "
    cli = f"copr-cli --config {config.web_cli_config}"
    beside = Path(sys.executable).parent / "copr-cli"
    if beside.exists():
        cli = f"{beside.parent}/{cli}"
    return [
        f"Repository: {repository}",
        f"Page:       {page_url(config, build)}",
        "Next, for example:",
        f"  {sudo}dnf --repofrompath={PROJECT},{repository} --repo={PROJECT} --nogpgcheck{root}"
        f" install {PACKAGE}",
        f"  {cli} build {PROJECT} {srpm}",
        f"  {cli} list-builds {PROJECT}",
    ]
