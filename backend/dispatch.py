"""From parsed arguments to the work: one function per command of `copr_be.py`.

What is heavy is imported only by the command that needs it.
"""

import argparse
import faulthandler
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from backend.arguments import parser
from backend.config import Config, load
from backend.constants import Exit
from backend.exceptions import ConfigError, CoprBackendError
from backend.loading import Loading


def overrides(args: argparse.Namespace) -> dict[str, str]:
    """What -o and -v say, as `section.key` → text."""
    found = {"backend.log_level": "debug"} if args.verbose else {}
    for text in [*args.option, *args.option_again]:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"-o {text}: write SECTION.KEY=VALUE, e.g. web.port=5001")
        found[key] = value
    return found


def pid_file(args: argparse.Namespace) -> Path | None:
    """Absolute, because a daemon leaves the current directory."""
    return args.pidfile.absolute() if args.pidfile else None


def _config(args: argparse.Namespace) -> Config:
    return load(args.config.absolute(), overrides(args))


def _run(args: argparse.Namespace) -> int:
    ext_opts = {
        "exit_on_worker": args.exit_on_worker,
        "pidfile": pid_file(args),
        "foreground": not args.daemonize,
        "overrides": overrides(args),
    }
    if args.daemonize:
        from backend.commands import daemonize  # noqa: PLC0415

        return daemonize.run(args.config.absolute(), ext_opts)
    with Loading():
        from backend.daemons.backend import run_backend  # noqa: PLC0415

    faulthandler.enable()  # systemd's watchdog sends ABRT: then it says where it hung
    run_backend(args.config.absolute(), ext_opts)
    return Exit.OK


def _check(args: argparse.Namespace) -> int:
    from backend.commands import check  # noqa: PLC0415

    path = args.config.absolute()
    return check.run(path, overrides(args), pid_file(args), as_json=args.json)


def _status(args: argparse.Namespace) -> int:
    from backend.commands import status  # noqa: PLC0415

    return status.run(_config(args), pid_file(args), as_json=args.json)


def _why(args: argparse.Namespace) -> int:
    from backend.commands import why  # noqa: PLC0415

    return why.run(_config(args), args.task)


def _drain(args: argparse.Namespace) -> int:
    from backend.commands import control  # noqa: PLC0415

    return control.drain(_config(args), pid_file(args), reason=args.reason, wait=args.wait)


def _resume(args: argparse.Namespace) -> int:
    from backend.commands import control  # noqa: PLC0415

    return control.resume(_config(args), pid_file(args))


def _stop(args: argparse.Namespace) -> int:
    from backend.commands import control  # noqa: PLC0415

    try:
        config = _config(args)
    except ConfigError as error:
        pidfile = pid_file(args) or control.guess_pidfile(
            args.config.absolute(), overrides(args).get("backend.rundir", "")
        )
        done = None if args.wait else control.stop_by_pidfile(pidfile, now=args.now)
        if done is None:
            raise
        for problem in error.problems:
            complain(f"before the next start: {problem}")
        return done
    return control.stop(config, pid_file(args), wait=args.wait, now=args.now)


def _host(args: argparse.Namespace) -> int:
    from backend.commands import host  # noqa: PLC0415

    how = {"reason": args.reason, "as_json": args.json}
    return host.run(_config(args), pid_file(args), args.what, args.name, **how)


def _reload(args: argparse.Namespace) -> int:
    from backend.commands import control  # noqa: PLC0415

    return control.reload(_config(args), pid_file(args))


def _reopen(args: argparse.Namespace) -> int:
    from backend.commands import control  # noqa: PLC0415

    return control.reopen(_config(args), pid_file(args))


def _user(args: argparse.Namespace) -> int:
    from backend.commands import store  # noqa: PLC0415

    keep = args.keep_projects
    return store.user(_config(args), args.what, args.name, days=args.days, keep_projects=keep)


def _key(args: argparse.Namespace) -> int:
    from backend.commands import keys  # noqa: PLC0415

    return keys.run(
        _config(args), args.what, args.name, every=args.all, file=args.file,
        recipient=args.to_gpg_recipient, passphrase=args.passphrase_file,
    )  # fmt: skip


def _backup(args: argparse.Namespace) -> int:
    from backend.commands import store  # noqa: PLC0415

    return store.make_backup(_config(args), args.file)


def _restore(args: argparse.Namespace) -> int:
    from backend.commands import store  # noqa: PLC0415

    return store.restore(_config(args), pid_file(args), args.file, force=args.force)


def _prune(args: argparse.Namespace) -> int:
    from backend.commands import prune  # noqa: PLC0415

    if args.yes and not (args.all or args.owner or args.project):
        raise ConfigError("prune --yes: say of what: --all, --owner NAME or --project OWNER/NAME")
    return prune.run(
        _config(args), owner=args.owner, project=args.project, yes=args.yes, as_json=args.json
    )


def _repo(args: argparse.Namespace) -> int:
    from backend.commands import repo  # noqa: PLC0415

    order = repo.Order(what=args.what, state=args.state, devel=args.devel, as_json=args.json)
    return repo.run(_config(args), args.project, args.chroot, order)


def _promote(args: argparse.Namespace) -> int:
    from backend.commands import promote  # noqa: PLC0415

    config, pidfile = _config(args), pid_file(args)
    return promote.run(config, pidfile, args.source, args.target, args.builds, limit=args.limit)


def _rebuild(args: argparse.Namespace) -> int:
    from backend.commands import rebuild  # noqa: PLC0415

    keep = args.keep.absolute() if args.keep else None
    return rebuild.run(
        _config(args),
        args.build,
        args.chroot,
        keep=keep,
        as_json=args.json,
        on_host=args.on_host,
    )


def _root(args: argparse.Namespace) -> int:
    from backend.builders.rootmake import Order  # noqa: PLC0415
    from backend.commands import root  # noqa: PLC0415

    order = Order(
        suite=args.suite,
        mirror=args.mirror,
        repos=tuple(args.repo),
        packages=tuple(args.package),
        gpgkey=args.gpgkey,
    )
    return root.run(_config(args), args.what, args.name, order)


def _quickstart(args: argparse.Namespace) -> int:
    with Loading():
        from backend.quickstart import run  # noqa: PLC0415

    return run(args.state, once=args.once, port=args.port)


def _example(_: argparse.Namespace) -> int:
    from backend.example import render  # noqa: PLC0415

    print(render(), end="")
    return Exit.OK


def _man_page(_: argparse.Namespace) -> int:
    from backend.manpage import render  # noqa: PLC0415

    print(render(parser()), end="")
    return Exit.OK


def complain(problem: str) -> None:
    """One line on stderr, as an error where that is the journal."""
    mark = ""
    if os.environ.get("JOURNAL_STREAM"):
        from backend.daemons.log import to_journal  # noqa: PLC0415

        mark = "<3>" if to_journal(sys.stderr) else ""
    print(f"{mark}copr_be.py: {problem}", file=sys.stderr)


#: The commands, by the names that `backend.arguments` gives them.
COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "check": _check,
    "status": _status,
    "why": _why,
    "drain": _drain,
    "resume": _resume,
    "stop": _stop,
    "host": _host,
    "reload": _reload,
    "reopen-logs": _reopen,
    "user": _user,
    "key": _key,
    "backup": _backup,
    "restore": _restore,
    "prune": _prune,
    "repo": _repo,
    "promote": _promote,
    "root": _root,
    "rebuild": _rebuild,
    "quickstart": _quickstart,
    "example-config": _example,
    "man-page": _man_page,
}


def perform(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; every expected problem is one line on stderr and an exit
    code. Ctrl-C leaves as KeyboardInterrupt."""
    try:
        args = parser().parse_args(argv)
        return int(COMMANDS[args.command](args))
    except ConfigError as error:
        for problem in error.problems:
            complain(problem)
        return Exit.USAGE
    except CoprBackendError as error:
        complain(str(error))
        return int(error.exit_code)
    except BrokenPipeError:  # `copr_be.py status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
