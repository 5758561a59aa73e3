"""The command line of `copr_be.py`: its commands and options. `backend.dispatch` runs them."""

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path

from backend import __version__
from backend.config import DEFAULT_PATH

_EPILOG = """\
examples:
  copr_be.py -c /etc/copr/copr-be.conf      run in the foreground until Ctrl-C
  copr_be.py -c /etc/copr/copr-be.conf -d   run as a daemon
  copr_be.py check                          look over configuration and tools
  copr_be.py status                         what happens, what waits, what broke
  copr_be.py why 42                         where build 42 is and why it waits
  copr_be.py quickstart --state ./var       a farm below ./var, with a build
  copr_be.py COMMAND --help                 what a command does

exit codes: 0 stopped as asked, 1 failed, 2 bad command line or configuration,
3 already running (or, for commands that need a running daemon: not running)
"""


def _common(add: Callable[..., object], *, again: bool) -> None:
    """The options that may stand before the command or after it; the later one counts."""
    text = argparse.SUPPRESS if again else None

    def default(value: object) -> object:
        return argparse.SUPPRESS if again else value

    add("-c", "--config", type=Path, default=default(DEFAULT_PATH), metavar="FILE",
        help=f"configuration file (default: {DEFAULT_PATH})")  # fmt: skip
    add("-p", "--pidfile", type=Path, default=default(None), metavar="FILE",
        help="pid file (default: copr-be.pid in rundir)")  # fmt: skip
    add("-o", "--option", action="append", default=[], metavar="SECTION.KEY=VALUE",
        dest="option_again" if again else "option",
        help="override one option of the configuration file")  # fmt: skip
    add("-v", "--verbose", action="store_true", default=default(False),
        help=text or "log debug messages too")  # fmt: skip


def _running(add: Callable[..., object], *, again: bool) -> None:
    """The options of the daemon itself."""
    default = argparse.SUPPRESS if again else False
    add("-d", "--daemonize", action="store_true", default=default, help="run in the background")
    add("-x", "--exit", dest="exit_on_worker", action="store_true", default=default,
        help="end when a worker dies unexpectedly")  # fmt: skip


def _wrapped(text: str) -> str:
    """No line wider than a terminal; argparse itself would lose the lines."""
    lines = text.strip().splitlines()
    return "\n".join(textwrap.fill(line, 79, break_on_hyphens=False) for line in lines)


def parser() -> argparse.ArgumentParser:
    """The command line; `command` of what it parses is the command's name."""
    main_parser = argparse.ArgumentParser(
        prog="copr_be.py",
        description="Turns source packages into dnf repositories. Without a command: run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = main_parser.add_argument
    _common(add, again=False)
    _running(add, again=False)
    add("--version", action="version", version=f"copr-backend {__version__}")
    main_parser.set_defaults(command="run", option_again=[])
    commands = main_parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, text: str, more: str = "") -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name, help=text, description=_wrapped(f"{text[0].upper()}{text[1:]}.\n{more}"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        _common(sub.add_argument, again=True)
        sub.set_defaults(command=name)
        return sub

    _running(command("run", "run the backend (the default)").add_argument, again=True)
    _looking(command)
    _controlling(command)
    _storing(command)
    _building(command)
    _signing(command)
    _tidying(command)
    _publishing(command)
    command("example-config", "print every option with its default")
    command("man-page", "print this program's manual page, for man(1)")
    quick = command("quickstart", "a complete farm in one directory, with a build")
    quick.add_argument("--state", type=Path, default=Path("var"), help="directory for everything")
    quick.add_argument("--once", action="store_true", help="end after the first build")
    quick.add_argument("--port", type=int, help="port of the frontend")
    return main_parser


def _looking(command: Callable[..., argparse.ArgumentParser]) -> None:
    check = command(
        "check", "look over configuration, tools, sandbox, Redis and frontend",
        "Changes nothing.\n\nexit codes: 0 it can start, 1 something is missing,"
        " 2 bad configuration",
    )  # fmt: skip
    status = command(
        "status", "show master, groups, builds, what waits and what broke",
        "\n\nexit codes: 0 running and well, 1 running with trouble (Redis or frontend away,"
        "\ndisk full),"
        "\n2 bad configuration, 3 not running, 4 no right to look",
    )  # fmt: skip
    for sub in (check, status):
        sub.add_argument("--json", action="store_true", help="for programs")
    why = command(
        "why", "where a task or build is, and why it waits",
        "\n\nexit codes: 0 found, 1 nobody knows it",
    )  # fmt: skip
    why.add_argument(
        "task", metavar="TASK", help="a build's number, or a task, e.g. 42-fedora-41-x86_64"
    )


def _controlling(command: Callable[..., argparse.ArgumentParser]) -> None:
    codes = "\n\nexit codes: 0 done, 1 failed, 3 not running"
    drain = command(
        "drain", "start no new builds until `resume`, also across restarts",
        "Builds that run go on." + codes,
    )  # fmt: skip
    drain.add_argument("--reason", default="", metavar="TEXT", help="shown by status and why")
    drain.add_argument("--wait", action="store_true", help="return when no build runs any more")
    command("resume", "end a drain", codes)
    stop = command(
        "stop", "stop the daemon, and return when it is gone",
        "Builds that run are built again at the next start." + codes,
    )  # fmt: skip
    how = stop.add_mutually_exclusive_group()
    how.add_argument("--wait", action="store_true", help="let running builds end first")
    how.add_argument("--now", action="store_true", help="kill a daemon that does not obey")
    host = command(
        "host", "hosts of builder groups: list, drain, resume, remove one",
        "A drained host gets no new builds, also after a restart; `resume` also ends a"
        "\nquarantine; `remove` ends a machine that was made on demand."
        "\n\nexit codes: 0 done, 1 failed",
    )  # fmt: skip
    host.add_argument("what", choices=("list", "drain", "resume", "remove"), help="what to do")
    host.add_argument("name", nargs="?", metavar="HOST", help="as `list` names it")
    host.add_argument("--reason", default="", metavar="TEXT", help="shown where the host is")
    host.add_argument("--json", action="store_true", help="for programs")
    command("reload", "make the daemon read its configuration again",
            "A bad one is refused." + codes)  # fmt: skip
    command("reopen-logs", "make the daemon open its log files again (logrotate)", codes)


def _storing(command: Callable[..., argparse.ArgumentParser]) -> None:
    user = command(
        "user", "users of the embedded frontend, and their tokens",
        "`add` and `token` print a configuration for copr-cli, once; the old token dies.",
    )  # fmt: skip
    user.add_argument("what", choices=("add", "list", "token", "remove"), help="what to do")
    user.add_argument("name", nargs="?", metavar="NAME", help="which user, but for `list`")
    user.add_argument("--days", type=int, help="how long the token is good for; 0: for ever")
    user.add_argument("--keep-projects", action="store_true", help="remove an owner of projects")
    backup = command("backup", "write the frontend's database and uploads to a file")
    restore = command(
        "restore", "put a backup in place of an empty database",
        "The daemon must be stopped. SQLite or PostgreSQL, whichever it was made from.",
    )  # fmt: skip
    for sub in (backup, restore):
        sub.add_argument("file", type=Path, metavar="FILE", help="the backup, a gzipped tar")
    restore.add_argument("--force", action="store_true", help="give up what is in the database")


def _signing(command: Callable[..., argparse.ArgumentParser]) -> None:
    key = command(
        "key", "keys that sign packages: show, rotate, resign, export, import",
        "show: which there are. rotate: sign with a new one, readers know both.\n"
        "resign: sign everything with the present one; to be repeated if it is interrupted.\n"
        "export, import: a secret key to or from --file, encrypted.",
    )  # fmt: skip
    key.add_argument(
        "what", choices=("show", "rotate", "resign", "export", "import"), help="what to do"
    )
    key.add_argument("name", nargs="?", metavar="OWNER/PROJECT", help="show: default all")
    key.add_argument("--all", action="store_true", help="resign all projects")
    key.add_argument("--file", type=Path, metavar="FILE", help="the export")
    key.add_argument(
        "--to-gpg-recipient", type=Path, metavar="KEY",
        help="export so that only the owner of the public key in this file can read it",
    )  # fmt: skip
    key.add_argument(
        "--passphrase-file", type=Path, metavar="FILE",
        help="export or import with the passphrase in the first line of this file",
    )  # fmt: skip


def _tidying(command: Callable[..., argparse.ArgumentParser]) -> None:
    prune = command(
        "prune", "show which results may go and why; --yes removes them",
        "Superseded and failed builds, old logs, chroots at their end of life.\n\n"
        "exit codes: 0 done, 1 something could not be removed",
    )  # fmt: skip
    prune.add_argument("--owner", default="", help="only the projects of this owner")
    prune.add_argument("--project", default="", metavar="OWNER/NAME", help="only this project")
    prune.add_argument("--all", action="store_true", help="everything (the default without --yes)")
    prune.add_argument("--yes", action="store_true", help="remove it")
    prune.add_argument("--json", action="store_true", help="for programs")
    promote = command(
        "promote", "copy builds into another project, all of them in one step",
        "SOURCE and TARGET may be the same project in devel mode: then the builds are released."
        "\nRepeating it is harmless.\n\nexit codes: 0 done, 1 failed",
    )  # fmt: skip
    promote.add_argument("source", metavar="SOURCE", help="OWNER/NAME")
    promote.add_argument("target", metavar="TARGET", help="OWNER/NAME")
    promote.add_argument("builds", metavar="BUILD", type=int, nargs="+", help="their numbers")
    promote.add_argument("--limit", type=float, default=600.0, metavar="SECONDS",
                         help="how long to wait until they are published")  # fmt: skip


def _publishing(command: Callable[..., argparse.ArgumentParser]) -> None:
    repo = command(
        "repo", "a published repository: its states, a check, a rebuild, the way back",
        "states: which there are, and which one readers get.\n"
        "check: hold the metadata against the packages on disk and against createrepo_c.\n"
        "rebuild: make the metadata anew from the packages on disk.\n"
        "rollback: go back to STATE, or to the one before, in one step; builds that it does not\n"
        "list are withheld until another rollback gives them back. --devel: of the metadata in\n"
        "devel/, which go on listing what is released.\n\n"
        "exit codes: 0 well, 1 failed, or check has found something",
    )  # fmt: skip
    repo.add_argument("what", choices=("states", "check", "rebuild", "rollback"), help="what to do")
    repo.add_argument("project", metavar="OWNER/PROJECT", help="e.g. admin/hello")
    repo.add_argument("chroot", metavar="CHROOT", help="e.g. fedora-41-x86_64")
    repo.add_argument("state", nargs="?", type=int, metavar="STATE", help="a number of `states`")
    repo.add_argument("--devel", action="store_true",
                      help="the metadata in devel/ (states, rollback)")  # fmt: skip
    repo.add_argument("--json", action="store_true", help="for programs (states, check)")


def _building(command: Callable[..., argparse.ArgumentParser]) -> None:
    root = command(
        "root", "make, update, remove or list the trees that packages are built in",
        "`make` takes debootstrap (Debian, Ubuntu), or dnf where --repo names repositories.\n"
        "A root that is being made and one that builds use never get into each other's way.",
    )  # fmt: skip
    root.add_argument("what", choices=("make", "update", "remove", "list"), help="what to do")
    root.add_argument("name", nargs="?", metavar="CHROOT", help="e.g. debian-13-x86_64")
    add = root.add_argument
    add("--suite", default="", help="debootstrap's suite (default: by the chroot's name)")
    add("--mirror", default="", metavar="URL", help="where debootstrap takes packages from")
    add("--repo", action="append", default=[], metavar="URL", help="a dnf repository; several")
    add("--gpgkey", default="", metavar="URL", help="key that signs the repositories' packages")
    add("--package", action="append", default=[], metavar="NAME",
        help="debootstrap: one more; dnf: these, in place of the usual ones")  # fmt: skip
    rebuild = command(
        "rebuild", "make a build's packages again, and tell whether they are the same",
        "Takes the source package and the settings that lie among the build's results, builds\n"
        "with this machine's builder, or with --on-host on a build host, in a scratch directory,\n"
        "and compares each package with the published one. Signatures do not count. Nothing that\n"
        "is published changes.\n\n"
        "identical: header and content, byte for byte. header differs: the same files in it.\n"
        "content differs: names the files. It says, too, what is installed now and was not then.\n"
        "What differs inside a file shows diffoscope, with the packages that --keep leaves.\n\n"
        "exit codes: 0 all are identical, 1 some differ, 2 it cannot be told (no such build, it\n"
        "does not build any more, its chroot is not built there, --on-host without a daemon)",
    )  # fmt: skip
    rebuild.add_argument("build", type=int, metavar="BUILD", help="a build's number")
    rebuild.add_argument("chroot", nargs="?", default="", metavar="CHROOT", help="default: each")
    rebuild.add_argument("--keep", type=Path, metavar="DIR", help="leave packages and log there")
    rebuild.add_argument("--on-host", action="store_true",
        help="build on a host of the chroot's group, which the running daemon gives")  # fmt: skip
    rebuild.add_argument("--json", action="store_true", help="for programs")
