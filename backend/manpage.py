"""Writes the manual page copr_be(8) from the parser of the command line."""

import argparse
from collections.abc import Iterator

from backend import __version__

_FILES = (
    ("/etc/copr/copr-be.conf", "the configuration; each option is explained in the example file"),
    ("/var/lib/copr-backend", "private state: database, uploads, secrets, work directories"),
    ("/var/lib/copr/public_html/results", "results and repositories"),
    ("/var/log/copr-backend", "logs"),
    ("/run/copr-backend", "pid file and sockets"),
)
_SIGNALS = (
    ("TERM", "stop; running builds are built again at the next start"),
    ("HUP", "read the configuration again; a bad one is refused"),
    ("USR1", "open the log files again"),
)


def render(parser: argparse.ArgumentParser) -> str:
    """The page: the daemon, each command with its options, files, signals, exit codes."""
    return "\n".join(_lines(parser)) + "\n"


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield ".\\\" Made from the command line's parser by `copr_be.py man-page`."
    yield f'.TH COPR_BE 8 "" "copr-backend {__version__}" "System Administration"'
    yield from (".SH NAME", "copr_be.py \\- turns source packages into dnf repositories")
    yield ".SH SYNOPSIS"
    yield ".B copr_be.py"
    yield "[\\fIoptions\\fR] [\\fIcommand\\fR [\\fIarguments\\fR]]"
    yield from (".SH DESCRIPTION", _text(parser.description or ""))
    yield ".SH OPTIONS"
    yield from _options(parser)
    yield ".SH COMMANDS"
    for name, (sub, words) in commands(parser).items():
        yield from (f".SS {_text(name)}", f".B copr_be.py {_usage(name, sub)}")
        yield from (".PP", _text(sub.description or words))
        yield from _options(sub, skip=_common(parser))
    yield from _table("FILES", _FILES)
    yield from _table("SIGNALS", _SIGNALS)
    yield from (".SH EXAMPLES AND EXIT CODES", ".nf", _text(parser.epilog or ""), ".fi")
    yield ".SH SEE ALSO"
    yield "The documentation beside this package: install, operate, pruning, signing, events."


def commands(
    parser: argparse.ArgumentParser,
) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    """Name → the command's own parser, and its line in the list."""
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            words = {str(c.dest): str(c.help or "") for c in action._choices_actions}
            for name, sub in action.choices.items():
                found[name] = (sub, words.get(name, ""))
    return found


def _common(parser: argparse.ArgumentParser) -> frozenset[str]:
    return frozenset(word for action in parser._actions for word in action.option_strings)


def _options(
    parser: argparse.ArgumentParser, *, skip: frozenset[str] = frozenset()
) -> Iterator[str]:
    for action in parser._actions:
        hidden = action.help is argparse.SUPPRESS
        if hidden or isinstance(action, argparse._SubParsersAction):
            continue
        if action.option_strings and skip.issuperset(action.option_strings):
            continue
        yield from (".TP", _heading(action))
        words = action.help or (f"one of {', '.join(action.choices)}" if action.choices else "")
        yield _text(words) or "\\&"


def _heading(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else _value(action)
    if not action.option_strings:
        return f"\\fI{_text(value)}\\fR"
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in action.option_strings)
    return f"{names} \\fI{_text(value)}\\fR" if value else names


def _value(action: argparse.Action) -> str:
    name = action.metavar or action.dest.upper()
    return str(name)


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = [name]
    for action in parser._actions:
        if action.option_strings or action.help is argparse.SUPPRESS:
            continue
        value = _value(action)
        words.append(f"[{value}]" if action.nargs in ("?", "*") else value)
        words += ["..."] if action.nargs in ("+", "*") else []
    return _text(" ".join(words))


def _table(title: str, rows: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {title}"
    for name, words in rows:
        yield from (".TP", f".B {_text(name)}", _text(words))


def _text(words: str) -> str:
    """Roff takes dots at the beginning of a line, backslashes and hyphens for its own."""
    plain = words.replace("\\", "\\e").replace("-", "\\-").replace("%%", "%")
    lines = [line.strip() if line[:1] != " " else line for line in plain.splitlines()]
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in lines if line)
