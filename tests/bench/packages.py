"""Part e: real packages through the farm, and through `xargs -P` of the same sandboxed rpmbuild."""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.process import find, run
from tests.bench import proc
from tests.bench.daemon import ROOT, Daemon, await_cpu_quiet, environment, load, pause

_SPEC = """\
Name: compile{number}
Version: 1
Release: 1
Summary: A program that takes the compiler a while
License: MIT
Source0: main.c
%description
It adds numbers up.
%prep
cp %{{SOURCE0}} .
%build
gcc -O2 -o compile{number} main.c
%install
install -D -m 755 compile{number} %{{buildroot}}/usr/bin/compile{number}
%files
/usr/bin/compile{number}
"""
_FUNCTION = """\
static double f{n}(double *a, int k) {{
    double s = {n};
    for (int i = 0; i < k; i++)
        for (int j = i; j < k; j++) {{
            s += a[(i * {n} + j) % k] * (j ^ {n}) / (1.0 + i);
            if (s > 1e9) s = a[j % k] - s / {n}.5; else a[(i + j) % k] = s - j;
        }}
    return s;
}}
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """`functions` in the smallest package, twice and three times as many in the next two, …"""

    packages: int
    functions: int
    jobs: int
    rounds: int


def program(functions: int) -> str:
    """C that keeps gcc busy: about 5 ms a function."""
    bodies = "".join(_FUNCTION.format(n=number) for number in range(1, functions + 1))
    calls = "".join(f"    s += f{number}(a, 9);\n" for number in range(1, functions + 1))
    head = "int main(void) {\n    double a[9] = {1}, s = 0;\n"
    return f"{bodies}{head}{calls}    return s > 1;\n}}\n"


def make_packages(top: Path, size: Size) -> list[Path]:
    """The source packages."""
    found = []
    for number in range(size.packages):
        step = number % 3
        (top / "main.c").write_text(program(size.functions * (1 + step)))
        spec = top / f"compile{number}.spec"
        spec.write_text(_SPEC.format(number=number))
        define = ["--define", f"_topdir {top}", "--define", f"_sourcedir {top}"]
        result = run([find("rpmbuild"), "-bs", "--nodeps", *define, str(spec)], timeout=60)
        if result.code:
            raise RuntimeError(f"rpmbuild -bs: {result.last_line}")
        found.append(top / "SRPMS" / f"compile{number}-1-1.src.rpm")
    return found


def measure(top: Path, size: Size, say: Callable[[str], None]) -> dict[str, Any]:
    """Farm, xargs, farm, xargs, …: a machine that is busy otherwise disturbs both alike."""
    sources = top / "sources"
    sources.mkdir()
    srpms = make_packages(sources, size)
    farm, xargs, empty = [], [], []  # each a list of (seconds, seconds of CPU)
    before = load()
    with Daemon(top / "packages", workers=size.jobs) as daemon:
        for number in range(size.rounds):
            say(f"round {number + 1} of {size.rounds}: {size.packages} packages, twice")
            project, plain = f"round{number}", top / f"plain{number}"
            plain.mkdir()
            # Whoever is second may find things warmer, or a machine that others use more.
            if number % 2 == 0:
                farm.append(_farm(daemon, project, srpms))
            empty.append(_xargs(daemon, plain, size.jobs, [""] * len(srpms)))
            xargs.append(_xargs(daemon, plain, size.jobs, [str(srpm) for srpm in srpms]))
            if number % 2 == 1:
                farm.append(_farm(daemon, project, srpms))
    bare = [(a[0] - b[0], a[1] - b[1]) for a, b in zip(xargs, empty, strict=True)]
    return {
        "packages": size.packages,
        "jobs": size.jobs,
        "farm_s": [seconds for seconds, _ in farm],
        "xargs_s": [seconds for seconds, _ in xargs],
        "xargs_without_build_s": [seconds for seconds, _ in empty],
        "farm_cpu_s": [cpu for _, cpu in farm],
        "xargs_cpu_s": [cpu for _, cpu in xargs],
        "overhead_percent": _overhead(farm, xargs, 0),
        "overhead_strict_percent": _overhead(farm, bare, 0),
        "overhead_cpu_percent": _overhead(farm, bare, 1),
        "load": [before, load()],
    }


_Times = list[tuple[float, float]]


def _overhead(farm: _Times, plain: _Times, which: int) -> float:
    """The median of the rounds' ratios, as a percentage above 100."""
    ratios = [a[which] / b[which] for a, b in zip(farm, plain, strict=True)]
    return (statistics.median(ratios) - 1) * 100


def _farm(daemon: Daemon, project: str, srpms: list[Path]) -> tuple[float, float]:
    """From the first upload until all are built, published and reported; CPU of the daemon."""
    await_cpu_quiet(daemon.pid)
    with (
        contextlib.closing(daemon.client()) as client,
        contextlib.closing(daemon.database()) as database,
    ):
        client.create(project)
        wanted = database.finished() + len(srpms)
        busy = proc.cpu_of_family(daemon.pid)
        begin = time.monotonic()
        for srpm in srpms:
            client.submit_file(project, srpm)
        while database.finished() < wanted:
            if time.monotonic() - begin > 600:
                raise TimeoutError("the packages are not built within 600 s")
            pause(0.01)
        seconds = time.monotonic() - begin
        return seconds, proc.cpu_of_family(daemon.pid) - busy


def _xargs(daemon: Daemon, top: Path, jobs: int, srpms: list[str]) -> tuple[float, float]:
    """The same of `xargs -P` over the same packages, and its CPU."""
    await_cpu_quiet(daemon.pid)
    listing = top / "list"
    listing.write_text("".join(f"{srpm}\0" for srpm in srpms))
    program = [sys.executable, "-m", "tests.bench.build_one", str(daemon.conf), str(top)]
    options = ["-0", "-n1", f"-P{jobs}", "--process-slot-var=SLOT", f"--arg-file={listing}"]
    before = os.times()
    begin = time.monotonic()
    result = run(["xargs", *options, *program], timeout=600, env=environment(), cwd=ROOT)
    seconds = time.monotonic() - begin
    if result.code:
        raise RuntimeError(f"xargs: exit code {result.code}: {os.fsdecode(result.stderr[-2000:])}")
    after = os.times()
    user = after.children_user - before.children_user
    return seconds, user + after.children_system - before.children_system
