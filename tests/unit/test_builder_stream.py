"""What the end of a failed build's log says of its end."""

import pytest

from backend.builders.stream import killed_inside

VERDICT = "error: Bad exit status from /var/tmp/rpm-tmp.3SPqSI (%install)\n\nRPM build errors:\n"


@pytest.mark.parametrize(
    "said",
    [
        "Killed",
        "xargs: sh: terminated by signal 9",
        "/var/tmp/rpm-tmp.x: line 33: 17 Killed                  make -j2",
        "gcc: fatal error: Killed signal terminated program cc1\ncompilation terminated.\n"
        "make: *** [Makefile:3: a.o] Error 1",
        "make: *** [Makefile:3: all] Killed",
    ],
)
def test_a_process_of_the_build_was_killed(said: str) -> None:
    assert killed_inside(f"+ make\n{said}\n{VERDICT}".encode())


@pytest.mark.parametrize(
    "said",
    [
        "make: *** [Makefile:3: all] Error 1",
        "FAIL: test_kill (expected 'Killed' but got 'Stopped')",
        "Killed\n1\n2\n3\nmake: *** [Makefile:3: check] Error 1",
        "Segmentation fault",
    ],
)
def test_a_failure_of_the_package(said: str) -> None:
    assert not killed_inside(f"+ make\n{said}\n{VERDICT}".encode())
    assert not killed_inside(b"Killed\n")
