"""`copr_be.py`: arguments and subcommands, nothing else."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from backend import __version__
from backend.config import DEFAULT_PATH
from backend.constants import Exit
from backend.exceptions import ConfigError, CoprBackendError

_EPILOG = """\
examples:
  copr_be.py -c /etc/copr/copr-be.conf       run in the foreground until Ctrl-C
  copr_be.py -c /etc/copr/copr-be.conf -d    run as a daemon
  copr_be.py check -c FILE                   look over configuration and tools
  copr_be.py example-config                  print every option with its default
  copr_be.py quickstart --state ./var        a complete farm below ./var, with a first build

exit codes: 0 stopped as asked, 1 failed, 2 bad command line or configuration,
3 already running
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main_parser = argparse.ArgumentParser(
        prog="copr_be.py",
        description="Turns source packages into dnf repositories.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = main_parser.add_argument
    add("command", nargs="?", choices=("run", "check", "example-config", "quickstart"),
        default="run", help="what to do (default: run the backend)")  # fmt: skip
    add("-c", "--config", type=Path, default=DEFAULT_PATH, metavar="FILE",
        help="configuration file (default: %(default)s)")  # fmt: skip
    add("-d", "--daemonize", action="store_true", help="run in the background")
    add("-p", "--pidfile", type=Path, metavar="FILE", help="pid file (default: in rundir)")
    add("-x", "--exit", dest="exit_on_worker", action="store_true",
        help="end when a worker dies unexpectedly")  # fmt: skip
    add("-v", "--verbose", action="store_true", help="log debug messages too")
    add("-o", "--option", action="append", default=[], metavar="SECTION.KEY=VALUE",
        help="override one option of the configuration file")  # fmt: skip
    add("--version", action="version", version=f"copr-backend {__version__}")
    quick = main_parser.add_argument_group("quickstart")
    quick.add_argument("--state", type=Path, default=Path("var"), help="directory for everything")
    quick.add_argument("--once", action="store_true", help="end after the first build")
    quick.add_argument("--port", type=int, help="port of the frontend")
    return main_parser


def _overrides(args: argparse.Namespace) -> dict[str, str]:
    found = {"backend.log_level": "debug"} if args.verbose else {}
    for text in args.option:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"-o {text}: write SECTION.KEY=VALUE, e.g. web.port=5001")
        found[key] = value
    return found


def _run(args: argparse.Namespace) -> int:
    from backend.daemons.backend import run_backend  # noqa: PLC0415  (needs all of the farm)

    ext_opts = {
        "exit_on_worker": args.exit_on_worker,
        "pidfile": args.pidfile,
        "foreground": not args.daemonize,
        "overrides": _overrides(args),
    }
    config = args.config.absolute()
    if not args.daemonize:
        run_backend(config, ext_opts)
        return Exit.OK
    return _daemonize(config, ext_opts)


def _daemonize(config: Path, ext_opts: dict[str, object]) -> int:
    """Check everything that can be checked while there is still a terminal, then detach."""
    from daemon import DaemonContext  # noqa: PLC0415

    from backend.builders.plugin import load_builder  # noqa: PLC0415
    from backend.config import load  # noqa: PLC0415
    from backend.daemons.backend import run_backend  # noqa: PLC0415
    from backend.daemons.prepare import check_directories, check_tools  # noqa: PLC0415
    from backend.daemons.web import listen  # noqa: PLC0415
    from backend.locks import PidFile  # noqa: PLC0415

    opts = load(config, ext_opts["overrides"])  # type: ignore[arg-type]
    check_directories(opts)
    pidfile = PidFile(Path(str(ext_opts["pidfile"] or opts.rundir / "copr-be.pid")))
    pidfile.check()
    check_tools(opts)
    load_builder(opts).preflight()
    if opts.embedded:
        listen(opts).close()
    out = (opts.log_dir / "daemon.out").open("a")
    # No signal_map: it would raise SystemExit in the middle of anything.
    with DaemonContext(stdout=out, stderr=out, signal_map={}, umask=0o022):
        try:
            run_backend(config, ext_opts)
        except CoprBackendError as error:
            print(f"copr_be.py: {error}", file=sys.stderr)
            return error.exit_code
    return Exit.OK


def _check(args: argparse.Namespace) -> int:
    from backend.builders.plugin import load_builder  # noqa: PLC0415
    from backend.config import load  # noqa: PLC0415
    from backend.daemons.prepare import check_tools  # noqa: PLC0415

    config = load(args.config.absolute(), _overrides(args))
    print(f"configuration {config.path}: ok")
    builder = load_builder(config)
    builder.preflight()
    print(f"builder {config.builder_type}: ok, builds {', '.join(map(str, builder.chroots()))}")
    for tool, path in check_tools(config).items():
        print(f"{tool}: {path}")
    return Exit.OK


def _quickstart(args: argparse.Namespace) -> int:
    from backend.quickstart import run  # noqa: PLC0415

    return run(args.state, once=args.once, port=args.port)


def _example(_: argparse.Namespace) -> int:
    from backend.example import render  # noqa: PLC0415

    print(render(), end="")
    return Exit.OK


def main(argv: Sequence[str] | None = None) -> int:
    """Run `copr_be.py`; every expected problem is one line on stderr and an exit code."""
    os.environ.setdefault("SPT_NOENV", "1")
    args = parser().parse_args(argv)
    commands = {
        "run": _run, "check": _check, "quickstart": _quickstart, "example-config": _example,
    }  # fmt: skip
    try:
        return int(commands[args.command](args))
    except CoprBackendError as error:
        print(f"copr_be.py: {error}", file=sys.stderr)
        return int(error.exit_code)


if __name__ == "__main__":
    sys.exit(main())
