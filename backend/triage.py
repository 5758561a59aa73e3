"""What kind of failure it was, and which lines of its log say so.

A pure decision over the message that ended the build and the end of its log; whoever reads it
needs neither rpm's nor make's habits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

#: Bytes at the end of a log that are looked at.
WINDOW = 512 * 1024
#: Most lines that are shown, and most characters of each.
MAX_LINES = 12
MAX_TEXT = 300
#: With fewer lines than these some of what comes before is shown too.
_FEW = 4
#: Looked at before the last line: errors further up were survived.
_NEAR = 4000


class Kind(StrEnum):
    """Classes of failures. Only `infrastructure` is ever tried again."""

    INFRASTRUCTURE = "infrastructure"
    DEPENDENCIES = "dependencies"
    PREP = "prep"
    COMPILE = "compile"
    CHECK = "check"
    FILES = "files"
    TIMEOUT = "timeout"
    STALL = "stall"
    LIMITS = "limits"
    CANCELED = "canceled"

    @property
    def meaning(self) -> str:
        """One sentence for people: what it is, and what to do."""
        return _MEANINGS[self]


_MEANINGS = {
    Kind.INFRASTRUCTURE: "The build farm failed, not the package: submit it again.",
    Kind.DEPENDENCIES: "Something that the build needs is missing: add it to BuildRequires, or"
    " have it installed where packages are built.",
    Kind.PREP: "The sources or the spec file were not usable: nothing was compiled yet.",
    Kind.COMPILE: "The package did not compile.",
    Kind.CHECK: "It compiled, but its own tests failed.",
    Kind.FILES: "It compiled, but installing or packing its files failed: look at %install and"
    " %files.",
    Kind.TIMEOUT: "The build took longer than it may: submit it with a longer --timeout.",
    Kind.STALL: "The build said nothing for too long: it hangs, or must be made to talk.",
    Kind.LIMITS: "The build needed more than it may use here.",
    Kind.CANCELED: "Somebody canceled it.",
}


@dataclass(frozen=True, kw_only=True)
class KeyLine:
    """A line of the log: its number from 1, and the byte where it begins."""

    line: int
    offset: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The class of a failure and the lines that matter, in the log's order."""

    kind: Kind
    lines: tuple[KeyLine, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it is reported: `{"kind": …, "lines": [{"line": …, "offset": …, "text": …}]}`."""
        return {"kind": str(self.kind), "lines": [asdict(line) for line in self.lines]}


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The end of a log: `lines` lines of `offset` bytes come before `data`."""

    data: bytes = b""
    offset: int = 0
    lines: int = 0


#: Stage of a spec file → class of what fails there.
_STAGES = {
    "prep": Kind.PREP,
    "generate_buildrequires": Kind.DEPENDENCIES,
    "conf": Kind.COMPILE,
    "build": Kind.COMPILE,
    "install": Kind.FILES,
    "check": Kind.CHECK,
    "clean": Kind.FILES,
}

#: What we ourselves say when we end a build or refuse what it made.
_OURS = (
    (r"^build ended: .*\(timeout\)$|^the sources were not ready in time", Kind.TIMEOUT),
    (r"^build ended: .*\(stall_timeout\)$", Kind.STALL),
    (r"^chroot \S+ cannot be built here", Kind.INFRASTRUCTURE),
    (r"^build ended: |which this backend does not support", Kind.LIMITS),
    (r"max_download\)|is longer than 100 characters|: more than \d+$", Kind.LIMITS),
    (r"^(refused result|(?:rpmbuild|mock|the build) succeeded but made no RPM)", Kind.FILES),
    (r"^given up after \d+ faults|^its worker died \d+ times", Kind.INFRASTRUCTURE),
    (r"^the frontend cannot take the result", Kind.INFRASTRUCTURE),
    (r"^missing dependencies: ", Kind.DEPENDENCIES),
    (r"^mock refuses the source package: ", Kind.PREP),
    (r"^(module|package|macro|bootstrap|priority|rpmbuild|URL of repo).* is refused: ", Kind.PREP),
    (r"^canceled", Kind.CANCELED),
)

_EXECUTING = re.compile(r"^Executing\(%(\w+)\)")
_BAD_EXIT = re.compile(r"^error: Bad exit status from .*\(%(\w+)\)$")
_END = re.compile(r"^(RPM build errors:|error: Bad exit status from )")

#: Limits that the build ran into by itself.
_LIMITS = re.compile(
    r"No space left on device|Cannot allocate memory|[Oo]ut of memory|virtual memory exhausted"
    r"|File size limit exceeded|fork: (retry: )?Resource temporarily unavailable"
    r"|Killed signal terminated program|std::bad_alloc|Too many open files"
)
_MISSING = re.compile(
    r"(?:^|: )(?:error: )?Failed build dependencies:|^\s+\S.* is needed by \S+$"
    r"|: (?:line )?\d*:? ?\S+: (?:command )?not found$|: command not found$"
    r"|[Nn]o package '[^']+' found|Package requirements \(.*\) were not met"
    r"|ModuleNotFoundError: No module named|: No module named \S+$"
    r"|Can't locate \S+ in @INC|Could NOT find \w+"
    r"|Could not find a package configuration file provided by"
    r"|Dependency \S+ not found|ERROR: Dependency \"[^\"]+\" not found"
    r"|[Ff]ailed to find \S+\.h\b|[Nn]othing provides \S+|No match for argument"
    r"|No matching package to install"
    r"|Unable to find a match|^error: no matching package named|cannot find -l\S+?(?::|$)"
    r"|: error: package \S+ does not exist$|^Error: Cannot find module "
    r"|(?:program|Program) '?\S+'? not found|configure: error: .*(?:not found|is required|missing)"
    r"|make.*: \*\*\* .* Error 127$|Error: No such (?:package|module)"
)
_HEADER = re.compile(r": fatal error: \S+: No such file or directory$")
_ANGLE = re.compile(r"#\s*include\s*<")
_ERROR = re.compile(
    r": (?:fatal )?error(?:\[E\d+\])?:|^error(?:\[E\d+\])?: |undefined reference to|: ld returned"
    r"|^CMake Error|configure: error: |^Traceback |^\w*(?:Error|Exception): "
    r"|\*\*\* .*(?:Error \d|Stop)"
    r"|^FAIL(?:ED)?:? |^not ok |(?:^| )FAILED(?: |$)|panicked at|[Aa]ssertion .*failed|^ERROR[: ]"
    r"|: cannot (?:stat|create|open|find|remove|access) |: No such file or directory$"
    r"|: (?:Permission denied|Segmentation fault)|Segmentation fault|Hunk #\d+ FAILED"
    r"|^No file to patch"
    r"|^patch: \*\*\*\*|^(?:tar|gzip|xz|unzip|cp|mv|install|mkdir): "
    r"|Installed \(but unpackaged\)|File not found: |Directory not found: |Killed$"
)
#: Errors that only follow from another one.
_SYMPTOM = re.compile(r"\*\*\*|^error: |: ld returned \d|error: Aborting|could not be found\.$")
_NOISE = re.compile(
    r"^(\+|RPM build (?:errors|warnings):|Executing\()|^\s*$|\*\*\* (?:Waiting for|Deleting)"
    r"|^make.*: (?:Entering|Leaving) directory|^\s*bogus date in %changelog"
)
_FILES = re.compile(
    r"Installed \(but unpackaged\) file|File not found: |Directory not found: |File must begin with"
    r"|File listed twice|Empty %files file|Could not open %files file|Arch dependent binaries"
    r"|Package already exists|[Bb]uild.*-id.*duplicate|Missing build-id|Dependency tokens must"
)
#: rpm 4.20 says it when the package is built already.
_NOT_HERE = re.compile(r"(?:Architecture|OS) is (?:not included|excluded)")
_DEPENDENCIES = re.compile(r"Failed build dependencies:")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def of_message(message: str) -> Kind | None:
    """The class of what we say ourselves; None for words of the build."""
    return next((kind for pattern, kind in _OURS if re.search(pattern, message)), None)


def diagnose(message: str, tail: Tail, *, source: bool = False) -> Diagnosis:
    """The class of a failed build and its key lines.

    `message` ended it, `tail` is the end of its log. `source` says that a source package was to
    be made: what fails there is `prep`, unless it ran into a limit of ours.
    """
    lines = list(_lines(tail))
    ours = of_message(message)
    end = _end(lines)
    if ours is not None:
        return Diagnosis(kind=ours, lines=_last(lines, end))
    stage, start = _stage(lines[: end + 1])
    window = lines[max(start, end - _NEAR) : end]
    kind, key = _kind(message, lines[end:], window, None if source else stage)
    return Diagnosis(kind=kind, lines=_choose(window, lines, end, key))


def _lines(tail: Tail) -> Iterator[KeyLine]:
    offset = tail.offset
    for number, raw in enumerate(tail.data.split(b"\n"), tail.lines + 1):
        if raw or number > tail.lines + 1:
            text = raw.rpartition(b"\r")[2] if not raw.endswith(b"\r") else raw[:-1]
            shown = _CONTROL.sub("", text[: 4 * MAX_TEXT].decode("utf-8", "replace"))
            yield KeyLine(line=number, offset=offset, text=shown.rstrip())
        offset += len(raw) + 1


def _end(lines: Sequence[KeyLine]) -> int:
    """Index of the line with which rpmbuild sums up; without one, that after the last."""
    for index in range(len(lines) - 1, max(-1, len(lines) - 200), -1):
        if _BAD_EXIT.match(lines[index].text):
            return index
    marks = [i for i, line in enumerate(lines) if line.text.strip() == "RPM build errors:"]
    return marks[-1] if marks else len(lines)


def _stage(lines: Sequence[KeyLine]) -> tuple[str | None, int]:
    """The stage that was at work last, and the index of its first line."""
    for index in range(len(lines) - 1, -1, -1):
        found = _EXECUTING.match(lines[index].text)
        if found:
            ended = _BAD_EXIT.match(lines[-1].text)
            return (ended or found)[1], index
    ended = _BAD_EXIT.match(lines[-1].text) if lines else None
    return (ended[1] if ended else None), 0


def _kind(
    message: str, summary: Sequence[KeyLine], window: Sequence[KeyLine], stage: str | None
) -> tuple[Kind, int | None]:
    """The class, and the index in `window` of the line that decided it, if one did."""
    last_words = "\n".join([message, *(line.text for line in summary)])
    everything = last_words + "\n" + "\n".join(line.text for line in window[-50:])
    if _DEPENDENCIES.search(everything):
        return Kind.DEPENDENCIES, None
    if _FILES.search(last_words):
        return Kind.FILES, None
    if _NOT_HERE.search(message):
        return Kind.PREP, None
    default = _STAGES.get(stage or "", Kind.PREP)
    for index in range(len(window) - 1, -1, -1):
        text = window[index].text
        if _LIMITS.search(text):
            return Kind.LIMITS, index
        if _MISSING.search(text):
            return Kind.DEPENDENCIES, index
        if _HEADER.search(text):
            around = "\n".join(line.text for line in window[index : index + 3])
            return (Kind.DEPENDENCIES if _ANGLE.search(around) else default), index
        if _decides(text):
            return default, None
    return default, None


def _decides(text: str) -> bool:
    """True for an error of its own right: what is further up did not end the build."""
    return bool(_ERROR.search(text)) and not _SYMPTOM.search(text)


def _last(lines: Sequence[KeyLine], end: int) -> tuple[KeyLine, ...]:
    """The last words of a build that was ended by us."""
    said = [line for line in lines[:end] if line.text.strip()]
    return tuple(_short(line) for line in said[-5:])


def _choose(
    window: Sequence[KeyLine], lines: Sequence[KeyLine], end: int, key: int | None
) -> tuple[KeyLine, ...]:
    """The deciding line first of all, then the errors from the first one on, then the sum."""
    clean = [(i, line) for i, line in enumerate(window) if not _NOISE.match(line.text)]
    chosen = {i for i, line in clean if i == key}
    errors = [i for i, line in clean if _ERROR.search(line.text) or _MISSING.search(line.text)]
    for index in errors:
        # What follows an error of a compiler or of rpm belongs to it.
        for near in range(index, min(index + 3, len(window))):
            if len(chosen) < MAX_LINES - 2 and not _NOISE.match(window[near].text):
                chosen.add(near)
    if (
        len(errors) < 2 and len(chosen) < _FEW
    ):  # nothing but a last word: what was said before it may tell more
        first = min(chosen, default=len(window))
        chosen |= {i for i, _ in [one for one in clean if one[0] < first][-_FEW:]}
    found = [window[i] for i in sorted(chosen)]
    said = {line.text.removeprefix("error: ").strip() for line in found}
    more = [line for line in _summary(lines, end) if line.text.strip() not in said]
    return tuple(_short(line) for line in [*found, *more][:MAX_LINES])


def _summary(lines: Sequence[KeyLine], end: int) -> list[KeyLine]:
    """What rpmbuild says itself, once: not the repetition at the very end."""
    summed = [line for line in lines[end:] if line.text.strip() and not _NOISE.match(line.text)]
    if summed and _END.match(summed[0].text):
        return summed[:1]
    return summed[:6]


def _short(line: KeyLine) -> KeyLine:
    return KeyLine(line=line.line, offset=line.offset, text=line.text[:MAX_TEXT])
