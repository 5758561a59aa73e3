"""What mock 6.7 left behind when it failed, and whose fault that is."""

from dataclasses import replace

import pytest

from backend import triage
from backend.builders.mockverdict import Ended, ended_by_us, judge
from backend.exceptions import BuildError, InfrastructureError, Killed
from backend.triage import Kind

STARTED = b"INFO: mock.py version 6.7 starting\nStart: init plugins\nINFO: Signal handler active\n"
FAILED = (
    b"+ gcc -c nosuch.c\ncc1: fatal error: nosuch.c: No such file or directory\n"
    b"compilation terminated.\n"
    b"error: Bad exit status from /var/tmp/rpm-tmp.937dQb (%build)\nRPM build errors:\n"
    b"    Bad exit status from /var/tmp/rpm-tmp.937dQb (%build)\nChild return code was: 1\n"
)
FILES = (
    b"RPM build errors:\nerror: File not found: /builddir/build/BUILDROOT/x/usr/bin/other\n"
    b"    File not found: /builddir/build/BUILDROOT/x/usr/bin/other\nChild return code was: 1\n"
)
ARCH = (
    b"error: Building target platforms: x86_64\nBuilding for target x86_64\n"
    b"Architecture is not included: x86_64\nChild return code was: 1\n"
)
GOOD = b"Wrote: /builddir/build/SRPMS/x-1-1.src.rpm\nChild return code was: 0\n"
MISSING = (
    b"DEBUG util.py:460:  No matching package to install: 'libnothere-devel >= 3'\n"
    b"DEBUG util.py:460:  Not all dependencies satisfied\n"
    b"DEBUG util.py:460:  Error: Some packages could not be found.\n"
    b"DEBUG util.py:609:  Child return code was: 1\n"
)
NO_PACKAGE = (
    b"DEBUG util.py:460:  No match for argument: \x1b[1mnopackage-x\x1b[m\n"
    b"DEBUG util.py:460:  Error: Unable to find a match: nopackage-x\n"
)
SOLVER = (
    b"DEBUG util.py:462:  Error: \n"
    b"DEBUG util.py:462:   Problem: conflicting requests\n"
    b"DEBUG util.py:462:    - nothing provides libfoo.so.3()(64bit) needed by bar-1-1.x86_64\n"
)
DEAD = (
    b"DEBUG util.py:460:  Errors during downloading metadata for repository 'dead':\n"
    b"DEBUG util.py:460:    - Curl error (7): Couldn't connect to server for http://127.0.0.1:9/\n"
    b"DEBUG util.py:460:  Error: Failed to download metadata for repo 'dead': Cannot download"
    b" repomd.xml: Cannot download repodata/repomd.xml: All mirrors were tried\n"
)


def test_all_went_well() -> None:
    assert judge(Ended(code=0, output=STARTED, build=GOOD)) is None


@pytest.mark.parametrize(
    ("code", "build", "text"),
    [
        (1, FAILED, "Bad exit status from /var/tmp/rpm-tmp.937dQb (%build)"),
        (1, FILES, "File not found: /builddir/build/BUILDROOT/x/usr/bin/other"),
        (1, ARCH, "Architecture is not included: x86_64 (ExclusiveArch"),
        (10, FAILED, "Bad exit status"),
    ],
)
def test_rpmbuild_failed(code: int, build: bytes, text: str) -> None:
    error = judge(Ended(code=code, output=STARTED, build=GOOD + build))
    assert type(error) is BuildError
    assert str(error).startswith(text)


@pytest.mark.parametrize(
    ("root", "text"),
    [
        (MISSING, "missing dependencies: No matching package to install: 'libnothere-devel >= 3'"),
        (NO_PACKAGE, "missing dependencies: No match for argument: nopackage-x"),
        (SOLVER, "missing dependencies: conflicting requests; nothing provides libfoo.so.3()"),
    ],
)
def test_a_missing_package_is_the_packages_fault(root: bytes, text: str) -> None:
    error = judge(Ended(code=30, output=STARTED, root=root, build=GOOD))
    assert type(error) is BuildError
    assert str(error).startswith(text)
    assert triage.of_message(str(error)) is Kind.DEPENDENCIES


@pytest.mark.parametrize(
    "named", ["checksum >= mismatch-1", "(checksum if mismatch)", "Failed to load x"]
)
def test_a_missing_package_may_be_called_like_a_fault_of_ours(named: str) -> None:
    for words in (f"No matching package to install: '{named}'", f"nothing provides {named}"):
        error = judge(Ended(code=30, output=STARTED, root=f"DEBUG util.py:4:  {words}\n".encode()))
        assert type(error) is BuildError


@pytest.mark.parametrize("words", ["Failed to download metadata for x", "No space left on device"])
def test_what_a_scriptlet_says_is_not_believed_for_ever(words: str) -> None:
    said = f"DEBUG util.py:4:  {words}\n".encode()
    ran = b"DEBUG util.py:4:  Running transaction\n"
    for root, complete in ((ran + said, True), (said, False)):
        ended = Ended(code=30, output=STARTED, root=root, root_complete=complete)
        assert type(judge(ended)) is Killed
        assert type(judge(replace(ended, code=1))) is Killed
    assert type(judge(Ended(code=30, output=STARTED, root=said + ran))) is InfrastructureError


def test_a_build_cannot_say_that_the_disk_is_full() -> None:
    said = STARTED + b"No space left on device\nIsADirectoryError: x.rpm\n"
    ended = Ended(code=1, output=said, build=GOOD)
    assert type(judge(ended)) is Killed
    assert type(judge(replace(ended, crowded=True))) is InfrastructureError


def test_a_dead_mirror_is_not() -> None:
    error = judge(Ended(code=30, output=STARTED, root=DEAD))
    assert type(error) is InfrastructureError
    assert "Failed to download metadata for repo 'dead'" in str(error)


def test_a_dead_repository_of_the_project_is_tried_a_few_times() -> None:
    error = judge(Ended(code=30, output=STARTED, root=DEAD, repos=["dead"]))
    assert type(error) is Killed


def test_a_package_cannot_pass_its_failure_off_as_ours() -> None:
    said = b"Failed to download metadata for repo 'fedora'\nNo space left on device\n"
    error = judge(Ended(code=1, output=STARTED + said, build=said + FAILED))
    assert type(error) is BuildError


@pytest.mark.parametrize(
    ("code", "build"),
    [
        (247, b"+ exit 0\nChild return code was: -9\n"),
        (255, b"+ exit 0\nChild return code was: 255\n"),
        (1, b"+ exit 0\nChild return code was: 137\n"),
        (7, GOOD),
        (143, GOOD),
        (-9, GOOD),
        (
            1,
            b"make: *** [Makefile:3: all] Killed\nerror: Bad exit status from /var/tmp/x (%build)\n"
            b"RPM build errors:\n    Bad exit status from /var/tmp/x (%build)\n"
            b"Child return code was: 1\n",
        ),
    ],
)
def test_killed(code: int, build: bytes) -> None:
    assert type(judge(Ended(code=code, output=STARTED, build=build))) is Killed


@pytest.mark.parametrize(
    ("code", "output", "text"),
    [
        (3, b"ERROR: Config error: /x.cfg: '(' was never closed", "Config error: /x.cfg: '('"),
        (5, b"ERROR: Bad option for '--isolation'", "Bad option for '--isolation'"),
        (1, STARTED + b"RuntimeError: Unexpected package manager", "Unexpected package manager"),
        (1, b"mock: command not found", "did not start"),
        (70, STARTED + b"ERROR: \nCould not create output directory", "exit code 70"),
        (30, STARTED + b"ERROR: Command failed: \nError: never heard of it", "never heard of it"),
        (
            1,
            STARTED
            + b"Finish: clean chroot\nERROR: Command failed: \n # cp -a /usr/share/x /y\n\n\n",
            "exit code 1): cp -a /usr/share/x /y failed",
        ),
        (99, b"", "no output at all"),
    ],
)
def test_mocks_own_trouble_is_tried_a_few_times(code: int, output: bytes, text: str) -> None:
    error = judge(Ended(code=code, output=output))
    assert type(error) is Killed
    assert text in str(error)


def test_another_mock_in_the_root_and_a_full_disk_are_waited_for() -> None:
    locked = judge(Ended(code=60, output=STARTED + b"ERROR: Build root is locked"))
    assert type(locked) is InfrastructureError
    space = b"DEBUG util.py:460:  Error: No space left on device\n"
    assert type(judge(Ended(code=30, output=STARTED, root=space))) is InfrastructureError
    assert type(judge(Ended(code=2, output=STARTED, root=space))) is InfrastructureError


def test_who_filled_the_disk_shows_when_the_root_is_gone() -> None:
    build = b"dd: error writing 'big': No space left on device\n" + FAILED
    own = judge(Ended(code=1, output=STARTED, build=build))
    assert type(own) is BuildError
    assert triage.of_message(str(own)) is Kind.LIMITS
    assert type(judge(Ended(code=1, output=STARTED, build=build, crowded=True))) is (
        InfrastructureError
    )


def test_the_source_package_is_refused() -> None:
    said = STARTED + b"ERROR: Cannot find/open srpm: /m/x.src.rpm. Error: error reading header"
    for code in (1, 40):
        error = judge(Ended(code=code, output=said))
        assert type(error) is BuildError
        assert "Cannot find/open srpm" in str(error)


def test_a_limit_of_mocks_own() -> None:
    error = judge(Ended(code=11, output=STARTED))
    assert error
    assert triage.of_message(str(error)) is Kind.TIMEOUT


def test_a_damaged_prepared_root_is_made_anew() -> None:
    begun = b"2026 - Start(bootstrap): unpacking root cache\n"
    assert Ended(code=1, output=STARTED, state=begun).broken_cache
    begun += b"2026 - Finish(bootstrap): unpacking root cache\n"
    assert not Ended(code=1, output=STARTED, state=begun).broken_cache
    state = b"2026 - Start: chroot init\n2026 - Start: unpacking root cache\n"
    ended = Ended(code=1, output=STARTED, state=state)
    assert ended.broken_cache
    assert type(judge(ended)) is InfrastructureError
    full = Ended(code=1, output=STARTED, state=state, root=b"tar: No space left on device\n")
    assert not full.broken_cache
    assert "disk is full" in str(judge(full))
    whole = Ended(code=1, output=STARTED, state=state + b"2026 - Finish: unpacking root cache\n")
    assert not whole.broken_cache


def test_a_chroot_that_cannot_be_made_is_not_the_packages_fault() -> None:
    state = b"2026 - Start: chroot init\n"
    ended = Ended(code=30, output=STARTED, root=NO_PACKAGE, state=state)
    error = judge(ended)
    assert type(error) is Killed
    assert "the chroot's own packages cannot be installed: No match for" in str(error)
    assert type(judge(replace(ended, asked=["nopackage-x"]))) is BuildError
    made = state + b"2026 - Finish: chroot init\n"
    assert type(judge(replace(ended, state=made))) is BuildError


def test_a_missing_package_counts_more_than_what_scriptlets_say() -> None:
    said = b"Running transaction\nFailed to download metadata for x\n" + MISSING
    error = judge(Ended(code=30, output=STARTED, root=said))
    assert type(error) is BuildError


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("[Errno 21] Is a directory: '{}'", "Is a directory"),
        ("[Errno 2] No such file or directory: '{}'", "No such file or directory"),
        ("[Errno 6] No such device or address: '{}'", "No such device or address"),
        ("[Errno 13] Permission denied: '{}'", "Permission denied"),
        ("`{}` is a named pipe", "a named pipe"),
        ("'{}' and '/mnt/result/x.rpm' are the same file", "cannot be copied"),
    ],
)
@pytest.mark.parametrize("name", ["x.rpm", "o\nd: d.rpm"])
def test_what_a_build_left_as_a_package_is_its_own(name: str, why: str, reason: str) -> None:
    path = f"/m/copr-x/root/builddir/build/RPMS/{name}"
    said = (
        f"\x1b[31mERROR: Can not copy {path} into resultdir /mnt/result: {why.format(path)}\x1b[0m"
    )
    error = judge(Ended(code=1, output=STARTED + said.encode(), build=GOOD))
    assert type(error) is BuildError
    assert str(error) == f"refused result {name!a}: {reason}"
    assert triage.of_message(str(error)) is Kind.FILES


def test_a_full_disk_of_results_is_whose_it_is() -> None:
    where = b"'/m/root/builddir/build/RPMS/x.rpm' -> '/mnt/result/x.rpm'\n"
    said = b"ERROR: Can not copy /m/RPMS/x.rpm into resultdir /mnt/result: "
    full = said + b"[Errno 28] No space left on device: " + where
    ended = Ended(code=1, output=STARTED + full, build=GOOD)
    own = judge(replace(ended, hoard=True, cramped=True))
    assert type(own) is BuildError
    assert triage.of_message(str(own)) is Kind.LIMITS
    assert type(judge(replace(ended, cramped=True))) is InfrastructureError
    assert type(judge(ended)) is Killed
    broken = said + b"[Errno 5] Input/output error: " + where
    assert type(judge(replace(ended, output=STARTED + broken, hoard=True))) is Killed


@pytest.mark.parametrize("code", [3, 7, 11, 20, 30, 40, 60, 129, 143, 254])
def test_rpmbuild_ends_as_the_package_wants(code: int) -> None:
    build = f"error: it is over\nChild return code was: {code}\n".encode()
    error = judge(Ended(code=code, output=STARTED, build=GOOD + build, root=DEAD))
    assert type(error) is BuildError
    assert str(error) == "it is over"


def test_an_rpmbuild_that_said_nothing_is_not_spoken_for() -> None:
    again = b"Executing command: ['bash', '--login', '-c', 'rpmbuild -bb']\n"
    ended = Ended(code=60, output=STARTED, build=GOOD + again + b"Child return code was: 60\n")
    assert str(judge(ended)) == "rpmbuild failed without a word (exit code 60)"
    said = replace(ended, code=1, build=GOOD + again + FAILED)
    assert str(judge(said)).startswith("Bad exit status from")


def test_a_signal_that_ended_rpmbuild_is_named() -> None:
    build = b"+ jobs -p\nChild return code was: -15\n"
    error = judge(Ended(code=241, output=STARTED, build=build))
    assert type(error) is BuildError
    assert str(error) == "rpmbuild was ended by SIGTERM"


def test_an_rpmbuild_that_asked_for_more_packages_has_not_failed() -> None:
    asked = b"Wrote: /x.buildreqs.nosrc.rpm\nChild return code was: 11\n"
    traceback = STARTED + b"ERROR: [Errno 5] Input/output error\n"
    assert type(judge(Ended(code=1, output=traceback, build=asked))) is Killed
    assert type(judge(Ended(code=30, output=STARTED, root=DEAD, build=asked))) is (
        InfrastructureError
    )


def test_a_mock_whose_first_words_have_gone_by_has_started() -> None:
    error = judge(Ended(code=1, output=b"x" * 99, state=b"2026 - Start: chroot init\n"))
    assert "did not start" not in str(error)


def test_dnf_that_hangs_is_not_the_packages_fault() -> None:
    silent = BuildError("build ended: no output for 20 s (stall_timeout)")
    long = BuildError("build ended: it took longer than 20 s (timeout)")
    run = b"DEBUG util.py:558:  Executing command: ['%s', 'install'] with env {}\n"
    done = b"DEBUG util.py:610:  Child return code was: 0\n"
    for dnf in (b"/usr/bin/dnf-3", b"/usr/bin/dnf5", b"/usr/bin/systemd-nspawn', '/usr/bin/dnf"):
        error = ended_by_us(silent, run % dnf + b"DEBUG util.py:460:  mini 0 B/s\n")
        assert type(error) is Killed
        assert str(error).startswith("dnf hung while it installed packages: build ended: no output")
        assert ended_by_us(silent, run % dnf + done) is silent
        assert ended_by_us(long, run % dnf) is long
    assert ended_by_us(silent, run % b"/bin/rpm") is silent
    assert ended_by_us(silent, b"") is silent


def test_a_missing_gpg_key_is_named_in_one_line() -> None:
    said = (
        b"you do not have any GPG public keys installed.\nProblem repository: [mini]\nusername: \n"
    )
    error = judge(Ended(code=30, output=STARTED + said, root=said))
    assert type(error) is Killed
    assert str(error).endswith("gpgkey is missing in the chroot's file: Problem repository: [mini]")
