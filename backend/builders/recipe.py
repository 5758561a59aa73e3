"""The script that builds one package, and what it is given: it runs inside, as pid 1."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources

from backend.builders.sandbox import Area, Command, Sandbox
from backend.builders.view import HOME

RESULTS = "/builddir/results"
STARTED = b"Building with rpmbuild"
#: rpm reads it after those of the system; what `--load` names, rpmbuild 4.20 does not build with.
MACROS = f"{HOME}/.rpmmacros"
_GUARD = "/copr-backend.guard"
#: More lines of the log than a command line holds.
_NOTES = "/copr-backend.notes"
_MOST_WORDS = 64 * 1024
#: What a guard and the script below say to each other: in memory, for ext4 sends to the disk at
#: once what is written anew.
_MARK = "/run/.script"

#: Stands between rpmbuild and the shell of each build script, and sees how that one ends.
GUARD = f"""\
echo begun >{_MARK}
"$@"
code=$?
echo "ended $code" >{_MARK}
exit $code
"""

#: $1: first line of the log, $2: more lines, if they are not in a file, $3: SOURCE_DATE_EPOCH, if
#: rpm is not to find it out; the rest are rpmbuild's arguments.
BUILD = f"""
echo "$1"
[ "$2" ] && echo "$2"
[ -f {_NOTES} ] && cat {_NOTES}
[ "$3" ] && export SOURCE_DATE_EPOCH="$3"
shift 3
rpmbuild "$@"
code=$?  # no exec: the shell is pid 1 and reaps orphans
if [ $code -ne 0 ] && read -r said number 2>/dev/null <{_MARK}; then
  case $said$number in
    begun|ended137) echo "error: the shell of a build script got SIGKILL"; exit 137 ;;
  esac
fi
exit $code
"""

_NAME = re.compile(r"%(\w+)(?:\([^)]*\))?[ \t]")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One build: what its log begins with, and what rpmbuild is told."""

    title: str
    notes: Sequence[str]
    options: Sequence[str]
    macros: str = ""
    net: bool = False
    epoch: str = ""


@contextmanager
def command(sandbox: Sandbox, area: Area, recipe: Recipe) -> Iterator[Command]:
    """The command line of the build itself."""
    binds = ["--ro-bind", "{}/in.src.rpm", "/in.src.rpm", "--bind", "{}/results", RESULTS]
    data = {_GUARD: GUARD, **({MACROS: recipe.macros} if recipe.macros else {})}
    notes = "\n".join(recipe.notes)
    if len(notes.encode()) > _MOST_WORDS:
        data[_NOTES], notes = f"{notes}\n", ""
    options = list(recipe.options)
    # As rpm has it by itself, with the guard before the shell.
    shell = f"{sandbox.small_shell()} {_GUARD} %{{___build_shell}} %{{___build_args}}"
    options += ["--define", f"___build_cmd {shell}"]
    head = [f"{STARTED.decode()} {recipe.title}", notes, recipe.epoch]
    argv = ["/bin/sh", "-c", BUILD, "sh", *head, *options, "/in.src.rpm"]
    with sandbox.command(area, argv, binds=binds, data=data, net=recipe.net) as made:
        yield made


def macros() -> str:
    """Those of Fedora that a Debian's rpm lacks."""
    return resources.files("backend.builders").joinpath("debian.macros").read_text("utf-8")


def names(text: str) -> list[str]:
    """The names that a file of macros defines."""
    return [found[1] for definition in _definitions(text) if (found := _NAME.match(definition))]


def lacking(text: str, known: set[str]) -> str:
    """The file without what rpm has already."""
    kept = []
    for definition in _definitions(text):
        found = _NAME.match(definition)
        if found and found[1] not in known:
            kept.append(definition)
    return "".join(kept)


def _definitions(text: str) -> Iterator[str]:
    """Each definition with its continuation lines; comments are left out."""
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if not lines and not line.startswith("%"):
            continue
        lines.append(line)
        if not line.rstrip("\n").endswith("\\"):
            yield "".join(lines)
            lines = []
