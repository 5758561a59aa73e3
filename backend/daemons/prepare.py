"""What must be in place before the first process starts: directories and the secret."""

import os
import secrets
import sys
from pathlib import Path

from backend import sign
from backend.config import Config
from backend.exceptions import ConfigError, CoprBackendError
from backend.identity import Identity
from backend.process import find_all
from backend.repo import codec


def check_tools(config: Config) -> dict[str, str]:
    """Where the programs are that every builder needs; raises ToolError with the remedy.

    With a real frontend that includes git: RPM tasks come from dist-git.
    """
    tools = ["createrepo_c", *([] if config.redis_url else ["redis-server"])]
    return find_all([*tools, *sign.tools(config), *([] if config.embedded else ["git"])])


def check_compression(config: Config) -> str:
    """How metadata is compressed; raises CoprBackendError, with the remedy, if it cannot be."""
    codec.named(config.repository_compression)
    return config.repository_compression


def program_places() -> tuple[Path, ...]:
    """Where the code of this program, its Python packages and Python's own are."""
    return Path(__file__).parents[1], Path(sys.prefix), Path(os.__file__).parent


def not_readable(config: Config, place: Path) -> str:
    """What to say when the configured user may not read one of these places."""
    return (
        f"{config.path}: user = {config.user}: may not read the program in {place}:"
        " make install puts it where everybody may, or name another user"
    )


def check_program(config: Config) -> None:
    """Raises ConfigError if the user that we have become may not read our own code."""
    for place in program_places():
        if not os.access(place, os.R_OK | os.X_OK):
            raise ConfigError(not_readable(config, place))


def check_directories(config: Config, identity: Identity | None = None) -> None:
    """Make the configured directories, `identity`'s own if one is given and they are new.

    Raises CoprBackendError naming the one that cannot be written to.
    """
    for key, mode in (
        ("destdir", 0o755),
        ("statedir", 0o700),
        ("rundir", 0o755),
        ("log_dir", 0o755),
    ):
        path: Path = getattr(config, key)
        try:
            if identity and not path.exists():
                path.mkdir(mode=mode, parents=True)
                identity.give(path)
            path.mkdir(mode=mode, parents=True, exist_ok=True)
            probe = path / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise CoprBackendError(
                f"{key} {path} is not writable: {error.strerror}:"
                f" correct {key} in {config.path}, or the directory's owner"
            ) from error


def frontend_password(config: Config) -> str:
    """The secret between frontend and backend: configured, or made once in statedir (0600)."""
    if config.frontend_auth:
        return config.frontend_auth
    if not config.embedded:
        raise ConfigError(
            f"frontend_auth is empty: set it in {config.path} to the frontend's BACKEND_PASSWORD"
        )
    path = config.statedir / "frontend-auth"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(fd, "w") as file:
        secret = secrets.token_urlsafe(32)
        file.write(secret + "\n")
    return secret
