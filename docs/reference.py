"""What the site makes from the code: the table of options, and the commands of `copr_be.py`.

`options.md` and `commands.md` hold a mark where it goes, so that no generated file is kept.
"""

import argparse
from collections.abc import Iterator

from backend.arguments import parser
from backend.manpage import commands
from backend.options import OPTIONS, Option

MARK = "<!-- made from the code -->"

_KINDS = {
    "str": "text", "secret": "text, kept secret", "int": "number", "seconds": "seconds",
    "period": "seconds, or with m, h, d", "bool": "yes, no", "path": "absolute path",
    "paths": "CHROOT=PATH, …", "bytes": "bytes, or with K, M, G, T", "words": "words",
    "limits": "NAME=NUMBER, …", "dates": "NAME=DATE, …", "class": "a name, or package.module:Class",
}  # fmt: skip


def fill(page: str, text: str) -> str:
    """The text of `page` with its mark replaced, if that page is made from the code."""
    made = {"options": options, "commands": command_line}.get(page)
    return text.replace(MARK, "\n".join(made())) if made else text


def options() -> Iterator[str]:
    """One section for each section of the file, one table row for each option."""
    sections: dict[str, list[Option]] = {}
    for option in OPTIONS:
        sections.setdefault(option.section, []).append(option)
    for name, members in sections.items():
        yield from (
            f"## [{name}]",
            "",
            "| option | value | default | |",
            "| --- | --- | --- | --- |",
        )
        for option in members:
            key = f"group<N>_{option.name}" if option.group else option.name
            kind = ", ".join(f"`{word}`" for word in option.choices) or _KINDS[option.kind]
            if option.kind == "class":
                kind += " or `package.module:Class`"
            default = f"`{option.default}`" if option.default else ""
            yield f"| `{key}` | {_cell(kind)} | {_cell(default)} | {_cell(option.help)} |"
        yield ""


def command_line() -> Iterator[str]:
    """The options of all commands, then each command with its own."""
    top = parser()
    yield from ("## Options of every command", "", *_arguments(top, skip=frozenset()), "")
    common = frozenset(word for action in top._actions for word in action.option_strings)
    for name, (sub, words) in commands(top).items():
        usage = " ".join(sub.format_usage().removeprefix("usage: ").split())
        yield from (f"## {name}", "", "```text", usage, "```", "")
        yield from ("```text", (sub.description or words).strip(), "```", "")
        yield from (*_arguments(sub, skip=common), "")


def _arguments(of: argparse.ArgumentParser, *, skip: frozenset[str]) -> Iterator[str]:
    rows = []
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        if skip and (set(action.option_strings) & skip):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        if action.option_strings and action.nargs != 0:
            name += f" {action.metavar or action.dest.upper()}"
        text = action.help or ""
        if action.choices:
            text = ", ".join(str(choice) for choice in action.choices) + f" {text}"
        rows.append(f"| `{name}` | {_cell(text.strip())} |")
    if rows:
        yield from ("| | |", "| --- | --- |", *rows)


def _cell(text: str) -> str:
    """`text` in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;")
