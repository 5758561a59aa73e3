"""One attack: a piece of a spec file, and what must come of it."""

from dataclasses import dataclass

#: Limits that the attacks run into, for `[builder]`.
LIMITS = """
max_processes = 150
build_memory = 256M
max_disk = 100M
max_files = 1000
max_file = 64M
max_log = 4M
"""
#: Ends green.
GREEN = ""
#: Ends by SIGKILL: counted as the farm's trouble, tried again, failed after max_attempts.
KILLED = "KILLED"


@dataclass(frozen=True)
class Attack:
    """`build` and `clean` are sections of the spec, `head` stands before its first tag.

    `expect` is a pattern of the error's text, GREEN or KILLED. `says` must be in the log,
    `never` must not. `alone` is expected instead of `expect` where there are no control groups.
    `files` are the spec's. `quick` ones are part of `make test`.
    """

    name: str
    build: str = ":"
    expect: str = GREEN
    head: str = ""
    clean: str = ""
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ("ESCAPED",)
    files: str = ""
    quick: bool = False
    stall: int = 60
    timeout: int = 120
    alone: str = ""


def python(text: str) -> str:
    """A section that runs a Python program."""
    return f"python3 - <<'EOF'\n{text.strip()}\nEOF"
