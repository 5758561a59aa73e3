"""The commit that a source package was made from: noted beside it, for its builds to tell."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from backend.exceptions import BuildError

#: What `git rev-parse` and `svn info` print.
_COMMIT = {"git": re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}"), "svn": re.compile(r"[0-9]{1,18}")}
_MOST = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A repository of `kind` git or svn; `asked` is the branch, tag or commit that was wanted,
    `commit` what that was then."""

    kind: str
    url: str
    asked: str
    commit: str

    @classmethod
    def of(cls, kind: str, url: str, asked: str, printed: bytes | None) -> Self:
        """What was checked out, by what the tool has `printed`; raises BuildError if it is none.

        Passwords in the URL stay out: everybody reads this.
        """
        commit = (printed or b"").decode("ascii", "replace").strip()
        if not _COMMIT[kind].fullmatch(commit):
            raise BuildError(f"{kind} tells no commit of {url}: {commit[:80]!a}")
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return cls(kind=kind, url=bare, asked=asked, commit=commit)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The note at `path`; None if there is none, or one of other versions."""
        try:
            with path.open("rb") as file:
                found = cls(**json.loads(file.read(_MOST)))
        except (OSError, ValueError, TypeError):
            return None
        usable = all(isinstance(value, str) for value in asdict(found).values())
        return found if usable and found.kind in _COMMIT else None

    def note(self) -> bytes:
        """As `read` takes it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @property
    def uri(self) -> str:
        """As provenance names it: `git+https://…@COMMIT`."""
        scheme = "" if urlsplit(self.url).scheme == self.kind else f"{self.kind}+"
        return f"{scheme}{self.url}@{self.commit}"
