"""What RPM files say of themselves.

Usual ones are read here, with digests (`rpmheader`). Of source packages anything odd is left to
rpm itself, in the sandbox, where their spec files are unpacked, too.
"""

import re
from pathlib import Path

from backend.builders import Package, SourceInfo, rpmheader
from backend.builders.collect import SAFE_NAME
from backend.builders.sandbox import Area, Sandbox
from backend.exceptions import BuildError, InfrastructureError, ToolExceeded
from backend.process import Result

TIMEOUT = 600
MAX_SPEC = 8 * 1024**2
LEAD = b"\xed\xab\xee\xdb"
_FIELD = re.compile(r"[A-Za-z0-9._+~^%{}:?-]+")
_SPEC_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^%{}-]*")

#: One line each; lists are separated by spaces. Absent tags become empty or `(none)`.
_TAGS = (
    r"%{NAME}\n%{EPOCH}\n%{VERSION}\n%{RELEASE}\n%{ARCH}\n%{SOURCEPACKAGE}\n"
    r"[%{NOSOURCE} ][%{NOPATCH} ]\n[%{EXCLUSIVEARCH} ]\n[%{EXCLUDEARCH} ]\n[%{BUILDARCHS} ]\n"
)
_COUNT = 10
#: Lists of architectures, in the same order.
_ARCHES = (1061, 1059, 1089)  # EXCLUSIVEARCH, EXCLUDEARCH, BUILDARCHS
_FILEFLAGS, _BASENAMES, _IS_SPEC = 1037, 1117, 1 << 5

_INSPECT = r"""
f=/in.src.rpm
tags=$(rpm -qp --nosignature --nodigest --qf "$1" "$f" 2>/dev/null && echo .) || { echo BAD; exit; }
rpm -K --nosignature "$f" >/dev/null 2>&1 || { echo DAMAGED; exit; }
spec=$(rpm -qp --nosignature --qf '[%{FILEFLAGS:fflags} %{BASENAMES}\n]' "$f" |
  sed -n 's/^[^ ]*s[^ ]* //p' | head -n 1)
[ "$spec" ] || spec=$(rpm -qp --nosignature --qf '[%{BASENAMES}\n]' "$f" |
  grep '\.spec$' | head -n 1)
printf 'OK\n%s\n%s\n' "${tags%.}$spec" .
[ "$spec" ] || exit 0
rpm2cpio "$f" | cpio --quiet -i --to-stdout -- "$spec" "./$spec" 2>/dev/null
"""
#: The same once all but the spec file is known, $1.
_SPEC = r"""
rpm2cpio /in.src.rpm | cpio --quiet -i --to-stdout -- "$1" "./$1" 2>/dev/null
"""


def inspect(sandbox: Sandbox, area: Area, srpm: Path) -> tuple[SourceInfo, bool]:
    """What the copy `in.src.rpm` in the area says of itself, and whether it is a nosrc package."""
    known = _known(area.path / "in.src.rpm")
    if known:
        spec = _run(sandbox, area, srpm, _SPEC, known[_COUNT]).stdout
        if spec:
            return _source(srpm, known, spec), bool(_words(known[6]))
    result = _run(sandbox, area, srpm, _INSPECT, _TAGS)
    word, _, rest = result.stdout.partition(b"\n")
    if word in (b"BAD", b"DAMAGED"):
        raise BuildError(_complaint(srpm, (area.path / "in.src.rpm")))
    if word != b"OK":
        raise InfrastructureError(f"cannot inspect {srpm.name}: {result.last_line}")
    *lines, spec = rest.split(b"\n", _COUNT + 2)
    fields = [line.decode("utf-8", "replace").strip() for line in lines]
    return _source(srpm, fields, spec), bool(_words(fields[6]))


def _run(sandbox: Sandbox, area: Area, srpm: Path, text: str, argument: str) -> Result:
    binds = ["--ro-bind", "{}/in.src.rpm", "/in.src.rpm"]
    with sandbox.command(area, ["/bin/sh", "-c", text, "sh", argument], binds=binds) as command:
        try:
            return command.run(TIMEOUT, limit=MAX_SPEC + 1024**2)
        except ToolExceeded as error:
            raise BuildError(f"{srpm.name} cannot be read within limits: {error}") from error


def _known(copy: Path) -> list[str] | None:
    """The fields that `_INSPECT` prints, with the spec file's name; None if rpm is to be asked:
    of what is not a usual source package, or damaged."""
    try:
        header = rpmheader.read(copy)
    except BuildError:
        return None
    flags, names = header.numbers(_FILEFLAGS), header.texts(_BASENAMES)
    specs = [name for name, flag in zip(names, flags, strict=False) if flag & _IS_SPEC]
    specs = specs or [name for name in names if name.endswith(".spec")]
    arches = [header.texts(tag) for tag in _ARCHES]
    odd = any(tag in header.tags and not found for tag, found in zip(_ARCHES, arches, strict=True))
    left_out = header.numbers(rpmheader.NOSOURCE) + header.numbers(rpmheader.NOPATCH)
    odd |= header.partial and not left_out
    if odd or not header.source or not specs or not _SPEC_NAME.fullmatch(specs[0]):
        return None
    name, version, release, arch = (header.text(tag) for tag in _IDENTITY)
    epoch = "" if header.epoch is None else str(header.epoch)
    lists = [" ".join(found) for found in arches]
    return [
        name,
        epoch,
        version,
        release,
        arch,
        "1",
        " ".join(map(str, left_out)),
        *lists,
        specs[0],
    ]


def _source(srpm: Path, fields: list[str], spec: bytes) -> SourceInfo:
    if fields[5] != "1":
        raise BuildError(
            f"{srpm.name} is a binary RPM ({fields[4]}): a source RPM (.src.rpm) is needed"
        )
    spec_name = fields[_COUNT]
    if not spec_name:
        raise BuildError(f"{srpm.name} has no spec file inside: make it again with rpmbuild -bs")
    if not _SPEC_NAME.fullmatch(spec_name):
        raise BuildError(f"{srpm.name}: refused spec file name {spec_name!a}")
    if not spec:
        raise BuildError(f"{srpm.name} is damaged, {spec_name} cannot be read: upload it again")
    return SourceInfo(
        package=_package(srpm.name, [*fields[:4], "nosrc" if _words(fields[6]) else "src"]),
        spec_name=spec_name,
        spec=spec,
        exclusivearch=_words(fields[7]),
        excludearch=_words(fields[8]),
        buildarch=_words(fields[9]),
    )


def _complaint(srpm: Path, copy: Path) -> str:
    with copy.open("rb") as file:
        lead = file.read(4)
    if lead != LEAD:
        return f"{srpm.name} is not an RPM package: a source RPM (.src.rpm) is needed"
    return (
        f"{srpm.name} is damaged or truncated ({copy.stat().st_size} bytes):"
        " upload or fetch it again"
    )


def results(out: Path, names: tuple[str, ...], *, sources: bool = False) -> tuple[Package, ...]:
    """The identities of the taken files in `out`; file names must agree with them.

    Source packages are refused unless `sources` is true.
    """
    packages = []
    for name in names:
        header = rpmheader.read(out / name)
        epoch = "" if header.epoch is None else str(header.epoch)
        words = [header.text(tag) for tag in _IDENTITY]
        if header.source and sources:
            words[-1] = "nosrc" if header.partial else "src"
        package = _package(name, [words[0], epoch, *words[1:]])
        refused = header.source and not sources
        if package.filename != name or not SAFE_NAME.fullmatch(name) or refused:
            raise BuildError(f"refused result {name}: its header says {package.filename}")
        packages.append(package)
    return tuple(packages)


_IDENTITY = (rpmheader.NAME, rpmheader.VERSION, rpmheader.RELEASE, rpmheader.ARCH)


def _package(name: str, fields: list[str]) -> Package:
    for field in (fields[0], fields[2], fields[3], fields[4]):
        if not _FIELD.fullmatch(field):
            raise BuildError(f"{name!a}: refused name, version or release {field!a}")
    epoch = fields[1]
    return Package(
        name=fields[0],
        epoch=int(epoch) if epoch.isdigit() else None,
        version=fields[2],
        release=fields[3],
        arch=fields[4],
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split() if word != "(none)")
