"""Failures are classed on the logs of real builds that fail."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from backend import config, logtail, triage
from backend.builders import BuildRequest
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.exceptions import BuildError
from backend.triage import Diagnosis, Kind
from tests.integration.builder.tiny import Watcher

pytestmark = pytest.mark.rpmbuild

SPEC = """\
Name: red
Version: 1
Release: 1
Summary: Red
License: MIT
BuildArch: noarch
{tags}
%description
Red
%prep
{prep}
%build
{build}
%install
mkdir -p %{{buildroot}}/usr/share/red
echo x >%{{buildroot}}/usr/share/red/x
{install}
%check
{check}
%files
{files}
"""

#: What is wrong with the package → class, and a text that one of its key lines must have.
RED: dict[str, tuple[dict[str, str], Kind, str]] = {
    "bad tarball": ({"prep": "tar xf /dev/null/x.tar"}, Kind.PREP, "tar: "),
    "bad patch": (
        {"prep": "echo a >f\nprintf -- '--- f\\n+++ f\\n@@ -1 +1 @@\\n-b\\n+c\\n' | patch f"},
        Kind.PREP,
        "FAILED",
    ),
    "bad architecture": ({"tags": "ExclusiveArch: s390"}, Kind.PREP, "not included"),
    "compiler error": (
        {
            "build": "echo 'int main(void) { return x; }' >a.c\ncat >Makefile <<'X'\na: a.c\n"
            "\tgcc -o a a.c\nX\nmake"
        },
        Kind.COMPILE,
        " undeclared",
    ),
    "linker error": (
        {"build": "echo 'int f(void); int main(void) { return f(); }' >a.c\ngcc a.c"},
        Kind.COMPILE,
        "undefined reference",
    ),
    "own header": (
        {"build": "echo '#include \"own.h\"' >a.c\ngcc -c a.c"},
        Kind.COMPILE,
        "own.h: No such file",
    ),
    "traceback": ({"build": "python3 -c 'raise ValueError(7)'"}, Kind.COMPILE, "ValueError: 7"),
    "missing header": (
        {"build": "echo '#include <zzz/zzz.h>' >a.c\ngcc -c a.c"},
        Kind.DEPENDENCIES,
        "zzz/zzz.h: No such file",
    ),
    "missing library": (
        {"build": "echo 'int main(void) { return 0; }' >a.c\ngcc a.c -lzzz"},
        Kind.DEPENDENCIES,
        "-lzzz",
    ),
    "missing program": ({"build": "zzz-config --libs"}, Kind.DEPENDENCIES, "zzz-config"),
    "missing program in make": (
        {"build": "printf 'a:\\n\\tzzz-gen\\n' >Makefile\nmake"},
        Kind.DEPENDENCIES,
        "zzz-gen",
    ),
    "missing module": (
        {"build": "python3 -c 'import zzz_none'"},
        Kind.DEPENDENCIES,
        "No module named 'zzz_none'",
    ),
    "survived errors": (
        {"build": "zzz-config || :\necho 'int main(void) { return x; }' >a.c\ngcc a.c"},
        Kind.COMPILE,
        "undeclared",
    ),
    "failed tests": (
        {"check": "echo 'PASS: one'\necho 'FAIL: two'\nfor i in 1 2 3; do echo more; done\nexit 1"},
        Kind.CHECK,
        "FAIL: two",
    ),
    "silent test": ({"check": "echo working\nfalse"}, Kind.CHECK, "working"),
    "unpackaged file": ({"install": "echo >%{buildroot}/other"}, Kind.FILES, "/other"),
    "missing file": ({"files": "/usr/share/red\n/usr/share/none"}, Kind.FILES, "share/none"),
    "bad install": ({"install": "cp nowhere %{buildroot}/"}, Kind.FILES, "cp: cannot stat"),
    "too long": (
        {
            "build": "echo begun\nwhile :; do echo x; sleep .1; done",
            "timeout": "5",
        },
        Kind.TIMEOUT,
        "",
    ),
    "silence": ({"build": "echo begun\nsleep 60", "stall": "5"}, Kind.STALL, "begun"),
    "too large a log": ({"build": "yes", "max_log": "100000"}, Kind.LIMITS, "y"),
    "too much memory": (
        {
            "build": "echo 'int main(void) { return malloc(1UL << 60) ? 0 : (perror(0), 1); }'"
            " >a.c\n"
            "gcc -w -include stdio.h -include stdlib.h a.c\n./a.out"
        },
        Kind.LIMITS,
        "Cannot allocate memory",
    ),
    "no package": ({"files": "", "no_files": "1"}, Kind.FILES, ""),
}


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> RpmbuildBuilder:
    path = tmp_path_factory.mktemp("conf") / "copr-be.conf"
    path.write_text("[backend]\n")
    made = RpmbuildBuilder(config.load(path))
    made.preflight()
    return made


@pytest.fixture
def fail(builder: RpmbuildBuilder, tmp_path: Path) -> Callable[..., Diagnosis]:
    def build(**wrong: str) -> Diagnosis:
        parts = {"tags": "", "prep": "", "build": "", "install": "", "check": "", "files": ""}
        parts["files"] = "/usr/share/red"
        text = SPEC.format(**(parts | {k: v for k, v in wrong.items() if k in parts}))
        if wrong.get("no_files"):
            text = text.replace("%files\n", "")
            text = text.replace("mkdir -p %{buildroot}/usr/share/red", "").replace(
                "echo x >%{buildroot}/usr/share/red/x", ""
            )
        (tmp_path / "red.spec").write_text(text)
        command = ["rpmbuild", "-bs", "--nodeps", "--define", f"_topdir {tmp_path / 'top'}"]
        command += ["--target", "s390"] if "ExclusiveArch" in text else []
        subprocess.run([*command, str(tmp_path / "red.spec")], check=True, capture_output=True)
        work = tmp_path / "work"
        work.mkdir()
        request = BuildRequest(
            srpm=tmp_path / "top/SRPMS/red-1-1.src.rpm",
            chroot=builder.chroots()[0],
            workdir=work,
            slot=0,
            timeout=int(wrong.get("timeout", "60")),
            stall_timeout=int(wrong.get("stall", "60")),
            max_log=int(wrong.get("max_log", str(1 << 24))),
        )
        watcher = Watcher()
        try:
            with pytest.raises(BuildError) as caught:
                builder.build(request, watcher)
        finally:
            builder.cleanup(work, 0)
            watcher.close()
        log = tmp_path / "builder-live.log"
        log.write_bytes(watcher.log)
        found = triage.diagnose(str(caught.value), logtail.read(log, triage.WINDOW))
        _true(found, watcher.log)
        return found

    return build


def _true(found: Diagnosis, log: bytes) -> None:
    """Number, offset and text of each key line are those of the log."""
    lines = log.split(b"\n")
    assert len(found.lines) <= triage.MAX_LINES
    assert [line.line for line in found.lines] == sorted({line.line for line in found.lines})
    for line in found.lines:
        raw = lines[line.line - 1].decode("utf-8", "replace").rstrip()
        assert raw == line.text
        assert log[line.offset :].startswith(lines[line.line - 1])


@pytest.mark.parametrize("wrong", RED)
def test_a_real_failure_is_classed(fail: Callable[..., Diagnosis], wrong: str) -> None:
    parts, kind, text = RED[wrong]
    found = fail(**parts)
    shown = [line.text for line in found.lines]
    assert found.kind == kind, shown
    assert any(text in line for line in shown), shown
