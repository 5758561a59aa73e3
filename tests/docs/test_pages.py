"""What the pages say exists: commands, options, targets, files, links. Nothing is run here."""

import ast
import json
import re
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import copr_cli.main
import pytest

from backend.arguments import parser
from backend.config import load
from backend.manpage import commands
from backend.options import OPTIONS
from tests.docs.blocks import PAGES, SHELL, TOP, Block, anchors, argvs, blocks, code, links, prose

LANGUAGES = {*SHELL, "ini", "json", "python", "text", "{toctree}"}
#: Programs of the system that pages call. Any other name is a slip, or belongs here.
SYSTEM = frozenset(
    (
        *("apt", "base64", "cp", "createdb", "createuser", "dnf", "gpg", "head", "pip", "rpmbuild"),
        *("ssh-copy-id", "ssh-keygen", "ssh-keyscan", "sha256sum", "systemd-run", "tee", "useradd"),
    )
)
#: Words of the INI files of others (units of systemd).
FOREIGN = ("Unit", "Service")

ALL = [block for page in PAGES for block in blocks(page)]
IDS = [page.stem for page in PAGES]


def of(*languages: str) -> list[Block]:
    found = [block for block in ALL if block.language in languages]
    assert found
    return found


def where(block: Block) -> str:
    return block.where


def test_every_block_says_what_it_is() -> None:
    assert len(ALL) > 40
    assert not [block.where for block in ALL if block.language not in LANGUAGES]


def test_reasons_stand_above_blocks_of_commands_alone() -> None:
    used = [block for block in ALL if block.reason]
    assert all(block.language in SHELL for block in used)
    assert len(used) == sum(
        len(re.findall("^<!-- not run", page.read_text(), re.M)) for page in PAGES
    )


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_no_commands_in_indented_blocks(page: Path) -> None:
    """They would escape all other tests."""
    command = re.compile(r"^(?: {4}|\t)\s*(?:\$ )?(?:sudo )?(?:copr|make |dnf ).*$", re.M)
    assert not command.findall(prose(page))


def accepted(by: ArgumentParser, words: list[str]) -> bool:
    try:
        by.parse_args(words)
    except SystemExit as error:
        return not error.code
    return True


def check_copr_be(words: list[str]) -> None:
    assert accepted(parser(), words), words


def check_copr_cli(words: list[str]) -> None:
    assert accepted(copr_cli.main.setup_parser(), words), words


def check_make(words: list[str]) -> None:
    text = (TOP / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()  # type: ignore[index]
    for word in words:
        name, assigned, _ = word.partition("=")
        if assigned:
            assert f"$({name})" in text, f"make {name}=: no such variable"
        else:
            assert name in targets, f"make {name}: no such target"


def check_systemctl(words: list[str]) -> None:
    verb, *rest = [word for word in words if not word.startswith("-")]
    assert verb in ("enable", "start", "stop", "restart", "reload", "status", "disable")
    for unit in rest:
        # copr-backend.target is that of Copr's own backend, which a migration stops.
        assert unit == "copr-backend.target" or (TOP / f"systemd/{unit}.service").exists(), unit


def check(words: list[str]) -> None:
    program, rest = words[0], words[1:]
    name = program.rpartition("/")[2]
    own = {
        "copr_be.py": check_copr_be,
        "copr-cli": check_copr_cli,
        "make": check_make,
        "systemctl": check_systemctl,
    }
    if name in own:
        own[name](rest)
    elif name == "python":
        module = (TOP / rest[1].replace(".", "/")).with_suffix("")
        assert rest[0] == "-m", words
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), words
    elif "/" in program:
        assert (TOP / program).exists(), words
    else:
        assert program in SYSTEM, f"{program}: not among the programs that pages call"


@pytest.mark.parametrize("block", of(*SHELL), ids=where)
def test_commands_of_blocks_exist(block: Block) -> None:
    found = list(argvs(block.script))
    assert found
    for words in found:
        check(words)


@cache
def tables() -> dict[str, dict[str, ArgumentParser]]:
    theirs = commands(copr_cli.main.setup_parser())
    return {
        "copr_be.py": {name: sub for name, (sub, _) in commands(parser()).items()},
        "copr-cli": {name: sub for name, (sub, _) in theirs.items()},
    }


def flags(of_parser: ArgumentParser) -> set[str]:
    return {word for action in of_parser._actions for word in action.option_strings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_in_the_text_exist(page: Path) -> None:
    """A command may lack its arguments there, and stand with placeholders."""
    for text in code(page):
        if not re.match(r"(sudo )?(copr_be\.py|copr-cli|make) [^|]*$", text):
            continue
        try:
            words = next(argvs(text.replace("…", "")))
        except ValueError:
            words = text.split()
        if words[0] == "make":
            check_make(words[1:])
            continue
        table = tables()[words[0]]
        known = set().union(*(flags(sub) for sub in table.values())) | flags(parser())
        name = next((w for w in words[1:] if w in table or (w.islower() and w[0] != "-")), "")
        assert name in ("", *table) or words[1] == "-c", f"{text}: no such command"
        given = {word.partition("=")[0] for word in words[1:] if word.startswith("-")}
        assert given <= (flags(table[name]) if name in table else known), text


@pytest.mark.parametrize("block", of("ini"), ids=where)
def test_configuration_in_blocks_loads(block: Block, tmp_path: Path) -> None:
    sections = re.findall(r"^\[(.+)\]$", block.text, re.M)
    assert sections, "which file, which section?"
    if set(sections) & set(FOREIGN):
        assert set(sections) <= set(FOREIGN)
        return
    path = tmp_path / "copr-be.conf"
    path.write_text(block.text)
    # It may be about group1 alone.
    numbers = [int(number) for number in re.findall(r"^group(\d+)_", block.text, re.M)]
    load(path, {"backend.build_groups": str(max(numbers, default=0) + 1)})


@pytest.mark.parametrize("block", of("json", "python"), ids=where)
def test_code_in_blocks_is_code(block: Block) -> None:
    if block.language == "json":
        assert json.loads(block.text)
    else:
        ast.parse(block.text)


def options() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for option in OPTIONS:
        name = f"group<N>_{option.name}" if option.group else option.name
        found.setdefault(option.section, set()).add(name)
    return found


def named_options(page: Path) -> Iterator[tuple[str, str]]:
    """(section, option) for `[section] option …` in the text, and for rows of tables of options."""
    for text in code(page):
        yield from re.findall(r"\[(\w+)\] ([a-z]\w*)", text)
    rows = page.read_text().splitlines()
    for number, row in enumerate(rows):
        head = re.match(r"\| option(?: of `\[(\w+)\]`)? \|", row)
        if head:
            for line in rows[number + 2 :]:
                if not line.startswith("|"):
                    break
                cell = line.split("|")[1]
                yield from ((head[1] or "", name) for name in re.findall(r"`(\w+)`", cell))


def test_every_option_that_a_page_names_exists() -> None:
    known = options()
    anywhere = set().union(*known.values())
    seen = 0
    for page in PAGES:
        if page.stem == "migrate":  # has the words of Copr's own configuration too
            continue
        for section, name in named_options(page):
            seen += 1
            generic = re.sub(r"^group\d+_", "group<N>_", name)
            names = known.get(section, set()) if section else anywhere
            assert generic in names, (page.name, section, name)
    assert seen > 40


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(TOP), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_file_that_is_named_exists(page: Path) -> None:
    reasons = " ".join(block.reason for block in blocks(page))
    rooms = "backend|tests|conf|docs|packaging|systemd"
    found = re.findall(rf"(?<![\w/.-])((?:{rooms})/[\w./-]*)", reasons + " ".join(code(page)))
    for name in found:
        assert (TOP / name.rstrip(".")).exists(), name


def test_the_reference_has_every_option_and_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOP / "docs"))
    monkeypatch.delitem(sys.modules, "reference", raising=False)
    import reference  # type: ignore[import-not-found,unused-ignore]

    page = reference.fill("options", (TOP / "docs/options.md").read_text())
    for option in OPTIONS:
        name = f"group<N>_{option.name}" if option.group else option.name
        assert f"| `{name}` |" in page
    page = reference.fill("commands", (TOP / "docs/commands.md").read_text())
    for name, (sub, _) in commands(parser()).items():
        assert f"\n## {name}\n" in page
        for flag in flags(sub):
            assert re.search(rf"`[^`]*{re.escape(flag)}\b", page), (name, flag)
    assert reference.MARK not in page


def test_words_are_split_as_a_shell_does() -> None:
    script = "sudo -u x A=1 a b # c d\ne 'f g' > h && i \\\n  j | k; sudo l\n"
    assert list(argvs(script)) == [["a", "b"], ["e", "f g"], ["i", "j"], ["k"], ["l"]]
    assert shlex.join(["e", "f g"]) == "e 'f g'"
