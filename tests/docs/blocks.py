"""Reads the pages: their blocks, the commands in these, links, and words set as code."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
PAGES = (TOP / "README.md", *sorted((TOP / "docs").glob("*.md")))
#: Languages of blocks that hold commands.
SHELL = ("sh", "console")

_FENCE = re.compile(
    r"^(?P<mark>```+)(?P<language>\S*)[ \t]*\n(?P<text>.*?)^(?P=mark)[ \t]*$", re.M | re.S
)
_REASON = re.compile(r"<!-- not run: (?P<why>[^>]+?) -->\n\Z")
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block; `reason` says why it is not run, and is empty if it is."""

    page: Path
    line: int
    language: str
    text: str
    reason: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(TOP)}:{self.line}"

    @property
    def script(self) -> str:
        """What is typed: all of it, or the lines behind a prompt."""
        if self.language != "console":
            return self.text
        return "".join(f"{line[2:]}\n" for line in self.text.splitlines() if line[:2] == "$ ")


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        reason = _REASON.search(text[: match.start()])
        found.append(
            Block(
                page=page,
                line=text.count("\n", 0, match.start()) + 1,
                language=match["language"],
                text=match["text"],
                reason=reason["why"] if reason else "",
            )
        )
    return found


def prose(page: Path) -> str:
    """The page without its blocks and comments."""
    return re.sub(r"<!--.*?-->", "", _FENCE.sub("", page.read_text()), flags=re.S)


def code(page: Path) -> list[str]:
    """What stands between single backticks outside of blocks."""
    return _CODE.findall(prose(page))


def links(page: Path) -> list[str]:
    return [link for link in _LINK.findall(prose(page)) if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Names of the page's headings, as forges and the site make them."""
    heads = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.M)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in plain}


def argvs(script: str) -> Iterator[list[str]]:
    """Each simple command of a shell text, without sudo, assignments and redirections."""
    script = re.sub(r"(^|[ \t])# .*$", "", script.replace("\\\n", " "), flags=re.M)
    lexer = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""  # with them shlex would eat the newline, too
    words: list[str] = []
    skip = False
    for word in lexer:
        if skip:  # a redirection's target
            skip = False
        elif word and set(word) <= set("();|&\n"):
            yield from _simple(words)
            words = []
        elif word and set(word) <= set("<>"):
            skip = True
        else:
            words.append(word)
    yield from _simple(words)


def _simple(words: list[str]) -> Iterator[list[str]]:
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
        words = words[1:]
        if words and words[0] == "-u":
            words = words[2:]
    if words:
        yield words
