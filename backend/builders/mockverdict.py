"""What mock's exit code and logs say: the package's fault, or whose else. Pure.

The exit code alone says little: 1 is a failed rpmbuild as well as a traceback of mock, 30 a
missing package as well as a dead mirror. What a package prints counts against itself only: it
lands in build.log, and there it can but make its own failure.
"""

import contextlib
import re
import signal
from collections.abc import Collection
from dataclasses import dataclass

from backend.builders.stream import decisive_line, killed_inside
from backend.exceptions import BuildError, CoprBackendError, InfrastructureError, Killed

#: What mock prints once it has read its configuration and command line.
STARTED = "Signal handler active"

_CHILD = re.compile(r"^Child return code was: (-?\d+)$", re.MULTILINE)
_BEGINS = "Executing command: ["
_ARCH = re.compile(r"Architecture is (?:not included|excluded): \S+")
_PREFIX = re.compile(r"^(?:\S+ )?(?:DEBUG|INFO|WARNING|ERROR) \S+:\d+: +")
_COLOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SPACE = "No space left on device"
_FULL = f"mock: the disk is full: {_SPACE}: free space for its roots, [builder] mock_basedir"
#: rpmbuild was content; mock takes by itself what lies in the root under the name of a package.
_COPY = re.compile(r"^ERROR: Can not copy (.+?) into resultdir .+?: (.+)", re.MULTILINE | re.DOTALL)
#: Of these errors the machine may be the reason, whatever the package left.
_MACHINE = re.compile(r"\[Errno (?:5|12|23|24|28|30|116|122)\] ")
_SOURCE = re.compile(
    r"Cannot find/open srpm|Source RPM is not installable|No specfile found in srpm"
)
#: A package that is not there, or does not go with others.
_MISSING = re.compile(
    r"No matching package to install: .+|[Nn]othing provides .+|No match for argument: .+"
    r"|Unable to find a match: .+|package \S+ requires .+|conflicting requests.*"
    r"|package \S+ (?:conflicts|obsoletes|is filtered out) .+|cannot install (?:both|the best) .+"
    r"|file \S+ (?:from install|conflicts) .+|Unable to resolve argument .+"
    r"|(?:missing groups or modules|Missing groups): .+|All matches were filtered out .+"
)
#: The network, a mirror, or a repository.
_REMOTE = re.compile(
    r"Failed to download metadata .+|Cannot download .+|Curl error .+|.*All mirrors were tried.*"
    r"|Error downloading packages.*|.*Status code: [45]\d\d for .+|GPG check FAILED|Librepo error.+"
    r"|.*(?:repomd\.xml|checksum) .*(?:mismatch|parser error|doesn't match).*"
    r"|.*[Nn]o more mirrors.*|Failed to (?:load|synchronize) .+"
)
#: What dnf says after a long text, and before all settings of the repository.
_KEYLESS = "Problem repository: "
_DNF = re.compile(r"'/usr/bin/(?:micro)?(?:dnf|yum)[^'/]*'")
_REPO = re.compile(r"(?:repo|repository):? ['\"]?([A-Za-z0-9._:-]+)")
#: Exit codes that end a mock which somebody ended, or its rpmbuild.
_SIGNALS = (7, 129, 137, 141, 143, 247)
_CONFIGURATION = (3, 5, 6)
_UNPACKING = tuple(
    rb"%s(?:\(bootstrap\))?: unpacking root cache" % word for word in (b"Start", b"Finish")
)
#: Those of an rpmbuild that got SIGKILL; nspawn says 255.
_SHOT = (-9, 137, 255)
#: That of an rpmbuild which asks for more packages (%generate_buildrequires).
_MORE = 11


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How mock ended: exit code, the end of what it printed, and the ends of its three logs."""

    code: int
    output: bytes = b""
    root: bytes = b""
    #: root.log is not only the end of one.
    root_complete: bool = True
    build: bytes = b""
    state: bytes = b""
    #: Names of the repositories that the project, not the distribution, has named.
    repos: Collection[str] = ()
    #: Packages and modules that the project, not the distribution, wants in the root.
    asked: Collection[str] = ()
    #: The disk is nearly full although the root of this build is gone.
    crowded: bool = False
    #: What mock took out of the root fills a disk by itself.
    hoard: bool = False
    #: The disk of the results is nearly full although that is gone.
    cramped: bool = False

    @property
    def broken_cache(self) -> bool:
        """True if it ended while it unpacked a prepared root, which is damaged then."""
        begun, done = (len(re.findall(step, self.state)) for step in _UNPACKING)
        return bool(self.code) and begun > done and _SPACE.encode() not in self.root

    @property
    def rootless(self) -> bool:
        """True if it ended before there was a root: nothing of the package had been looked at."""
        step = b"chroot init"
        return step in self.state and b"Finish: " + step not in self.state


def judge(ended: Ended) -> CoprBackendError | None:
    """The error to raise; None if all went well."""
    if ended.code == 0:
        return None
    if ended.broken_cache:
        return InfrastructureError("a prepared root of mock was damaged and is made anew")
    if (own := _rpmbuild(ended)) and own not in _SHOT and own % 256 == ended.code:
        return _building(ended)  # mock ends as rpmbuild did, and a package may choose how that does
    if ended.code in (20, 30, 31):
        return _installing(ended)
    return _coded(ended) or _building(ended) or _taking(ended) or _ours(ended)


def ended_by_us(error: BuildError, root: bytes) -> CoprBackendError:
    """What to raise for a limit of ours that a mock met, given the end of its root.log: whoever
    waits for a mirror is silent, and it is not the package that hangs."""
    _, found, last = _text(root).rpartition(_BEGINS)
    dnf = found and _DNF.search(last.partition("\n")[0]) and "Child return code was: " not in last
    if dnf and str(error).endswith("(stall_timeout)"):
        return Killed(f"dnf hung while it installed packages: {error}")
    return error


def _coded(ended: Ended) -> CoprBackendError | None:
    """What the exit code says by itself."""
    code, said = ended.code, _said(ended)
    if code == 11:
        return BuildError("build ended: it took longer than mock's rpmbuild_timeout (timeout)")
    if code == 40 or _SOURCE.search(said):
        return BuildError(f"mock refuses the source package: {said}")
    if code == 60:
        return InfrastructureError(f"another mock uses the same root: {said}")
    if code in _CONFIGURATION:
        return Killed(f"mock does not take its configuration (exit code {code}): {said}")
    inner = _rpmbuild(ended)
    if code < 0 or code in _SIGNALS or inner in _SHOT:
        return Killed(f"mock or its rpmbuild was killed (exit code {code}): {said}")
    return None


def _rpmbuild(ended: Ended) -> int:
    """The exit code of the last rpmbuild; 0 if there was none, or it went well."""
    found = _CHILD.findall(_text(ended.build))
    code = int(found[-1]) if found else 0
    return 0 if code == _MORE != ended.code else code


def _words(ended: Ended) -> str:
    """What the last rpmbuild said, without mock's own lines."""
    lines = [line for line in _text(ended.build).splitlines() if not _CHILD.match(line)]
    begun = [number for number, line in enumerate(lines, 1) if line.startswith(_BEGINS)]
    return "\n".join(lines[begun[-1] if begun else 0 :])


def _building(ended: Ended) -> CoprBackendError | None:
    """If rpmbuild failed, what it said."""
    code = _rpmbuild(ended)
    if not code:
        return None
    if code < 0:
        with contextlib.suppress(ValueError):
            return BuildError(f"rpmbuild was ended by {signal.Signals(-code).name}")
    text = _words(ended)
    if not text.strip():
        return BuildError(f"rpmbuild failed without a word (exit code {code})")
    arch = _ARCH.search(text[-2000:])
    if arch:
        hint = "ExclusiveArch or ExcludeArch of the spec: build in another chroot"
        return BuildError(f"{arch[0]} ({hint})")
    data = text.encode()
    line = decisive_line(data)
    if _SPACE in text:
        if ended.crowded:
            return InfrastructureError(_FULL)
        return BuildError(f"build ended: it filled the disk: {line}")
    return Killed(line) if killed_inside(data) else BuildError(line)


def _taking(ended: Ended) -> CoprBackendError | None:
    """If mock could not take a package out of the root: what lies there, only the build made."""
    found = _COPY.findall(_text(ended.output))
    if not found:
        return None
    path, why = found[-1]
    name = ascii(path.rpartition("/")[2])
    words = re.match(r"\[Errno \d+\] ([^:\n]+)", why)
    reason = words[1] if words else "a named pipe" if "named pipe" in why else "cannot be copied"
    if not _MACHINE.match(why):
        return BuildError(f"refused result {name}: {reason}")
    if _SPACE not in why:
        return Killed(f"mock could not take {name} out of its root: {reason}")
    if ended.hoard:
        return BuildError(f"build ended: it filled the disk: {name}")
    full = f"the disk is full: mock could not take {name} out of its root: free space, statedir"
    return InfrastructureError(full) if ended.cramped else Killed(full)


def _installing(ended: Ended) -> CoprBackendError:
    """dnf could not install something: it does not exist, or cannot be had at the moment."""
    ours, scripts = _installed(ended)
    if full := _full(ended, scripts):
        return full
    remote = _unfetched(ours)
    if remote:
        text = f"packages could not be fetched: {remote[-1]}"
        named = {name for line in remote for name in _REPO.findall(line)}
        if named & set(ended.repos):  # may never come back: it is not the farm's
            return Killed(f"{text} (a repository that the project names)")
        return InfrastructureError(text)
    found = (_MISSING.search(line) for line in ours + scripts)
    missing = list(dict.fromkeys(match[0] for match in found if match))
    if missing:
        text = "; ".join(missing[:4])
        if ended.rootless and not any(name in line for name in ended.asked for line in missing):
            return Killed(f"the chroot's own packages cannot be installed: {text}")
        return BuildError(f"missing dependencies: {text}")
    if keyless := [line for line in ours if line.startswith(_KEYLESS)]:
        return Killed(f"dnf has no GPG key, gpgkey is missing in the chroot's file: {keyless[-1]}")
    why = (_unfetched(scripts) or [_said(ended)])[-1]
    return Killed(f"dnf failed (exit code {ended.code}): {why}")


def _installed(ended: Ended) -> tuple[list[str], list[str]]:
    """The lines of root.log: those that are dnf's, and those that scripts of packages may have
    written. The packages may be the project's."""
    lines = [_PREFIX.sub("", line).strip() for line in _text(ended.root).splitlines()]
    lines = [line.removeprefix("Error: ").removeprefix("Problem: ") for line in lines]
    begun = (n for n, line in enumerate(lines) if line.startswith("Running transaction"))
    cut = next(begun, len(lines)) if ended.root_complete else 0
    return lines[:cut], lines[cut:]


def _unfetched(lines: list[str]) -> list[str]:
    """The words of a missing package are the spec's: it may be called like a fault of ours."""
    return [line for line in lines if _REMOTE.match(line) and not _MISSING.search(line)]


def _full(ended: Ended, foreign: list[str]) -> CoprBackendError | None:
    """If the disk is said to be full. The lines `foreign` may be the package's: they count for
    ever only while the disk is full indeed."""
    said = any(_SPACE in line for line in foreign)
    if _SPACE in "\n".join(_installed(ended)[0]) or (said and ended.crowded):
        return InfrastructureError(_FULL)
    return Killed(_FULL) if said else None


def _ours(ended: Ended) -> CoprBackendError:
    """mock itself stumbled: over the disk, the machine, or its own fault."""
    if full := _full(ended, [*_installed(ended)[1], _text(ended.output)]):
        return full
    if STARTED not in _text(ended.output) and not ended.state:
        return Killed(f"mock did not start (exit code {ended.code}): {_said(ended)}")
    return Killed(f"mock failed (exit code {ended.code}): {_said(ended)}")


def _said(ended: Ended) -> str:
    """The line of mock's output that says why."""
    lines = [line.strip() for line in _text(ended.output).splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?:ERROR|CRITICAL|error): ", line)]
    for line in reversed(errors):
        text = line.partition(": ")[2].strip()
        if not text.startswith(("Exception(", "Command failed:")):
            return text
    _, failed, after = _text(ended.output).rpartition("ERROR: Command failed:")
    rest = [line.strip() for line in after.splitlines() if failed and line.strip()]
    said = [line for line in rest or lines if not line.startswith("# ")]
    if said:
        return said[-1]
    return f"{rest[0].removeprefix('# ')[:300]} failed" if rest else "no output at all"


def _text(data: bytes) -> str:
    return _COLOR.sub("", data.decode("utf-8", "replace"))
