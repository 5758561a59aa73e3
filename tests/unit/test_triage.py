"""Which class a failure is of: what real builds cannot show in every test run."""

import pytest

from backend import triage
from backend.triage import Kind, Tail


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("build ended: it took longer than 5 s (timeout)", Kind.TIMEOUT),
        ("build ended: no output for 5 s (stall_timeout)", Kind.STALL),
        ("build ended: log larger than 5 bytes (max_log)", Kind.LIMITS),
        ("build ended: it filled the disk, less than 9 MiB are free", Kind.LIMITS),
        ("chroot fedora-41-ppc64le cannot be built here: this host builds x", Kind.INFRASTRUCTURE),
        ("http://x/a.src.rpm is larger than 9 bytes ([builder] max_download)", Kind.LIMITS),
        ("given up after 5 faults of the build farm, the last: no disk", Kind.INFRASTRUCTURE),
        ("its worker died 3 times: given up (max_attempts)", Kind.INFRASTRUCTURE),
        ("the frontend cannot take the result: 500", Kind.INFRASTRUCTURE),
        ("refused result x.rpm: not a regular file", Kind.FILES),
        ("mock succeeded but made no RPM: has the spec a %files section?", Kind.FILES),
        ("the build succeeded but made no RPM", Kind.FILES),
        ("canceled on request", Kind.CANCELED),
        ("http://x/a.src.rpm: 404: check the address, or submit again later", None),
    ],
)
def test_our_own_words_have_a_class(message: str, kind: Kind | None) -> None:
    assert triage.of_message(message) == kind


def test_a_source_package_that_cannot_be_made_is_prep() -> None:
    log = Tail(data=b"fetching\nerror: http://x/a.src.rpm: 404 Not Found\n")
    found = triage.diagnose("http://x/a.src.rpm: 404 Not Found", log, source=True)
    assert found.kind == Kind.PREP
    assert found.lines[-1].text == "error: http://x/a.src.rpm: 404 Not Found"
    assert found.lines[-1].line == 2
    assert found.lines[-1].offset == len("fetching\n")


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\n\n", b"\xff\xfe\r\r\n", b"error: \n" * 3])
def test_any_log_gets_a_class(data: bytes) -> None:
    assert triage.diagnose("no output at all", Tail(data=data)).kind == Kind.PREP


def test_numbers_go_on_where_the_tail_begins() -> None:
    log = Tail(data=b"Executing(%build): sh\nx.c:1: error: no\n", offset=1000, lines=70)
    line = triage.diagnose("x", log).lines[-1]
    assert (line.line, line.offset) == (72, 1022)


def test_terminal_codes_are_not_shown() -> None:
    log = Tail(data=b"Executing(%build): sh\n\x1b[01;31mx.c:1: error: \x1b[0mno\x07\n")
    assert triage.diagnose("x", log).lines[-1].text == "x.c:1: error: no"


def test_mock_says_what_is_missing() -> None:
    log = Tail(
        data=b"INFO: installing\nNo matching package to install: 'zzz-devel'\n"
        b"Not all dependencies satisfied\nError: Some packages could not be found.\n"
    )
    found = triage.diagnose("Some packages could not be found.", log)
    assert found.kind == Kind.DEPENDENCIES
    assert any("zzz-devel" in line.text for line in found.lines)


def test_a_huge_log_is_classed_in_no_time() -> None:
    log = Tail(data=b"Executing(%build): sh\n" + b"a.c: cannot stat error: FAIL x" * 20000)
    assert len(triage.diagnose("x", log).lines) <= triage.MAX_LINES
