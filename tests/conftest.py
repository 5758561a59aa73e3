"""Shared by all tests: markers for real tools, and waiting for facts instead of time."""

import os
import select
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Busy machines must not decide whether a property holds.
settings.register_profile(
    "farm", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("farm")

#: Marker → programs that it needs. On a bare machine such a test is skipped, in CI it fails.
TOOLS = {
    "rpmbuild": ("rpmbuild", "bwrap", "setpriv", "prlimit"),
    "redis": ("redis-server",),
    "createrepo": ("createrepo_c",),
    "dnf": ("dnf",),
    "coprcli": ("wget",),
    "chromium": ("chromium",),
    "gpg": ("gpg", "gpg-agent", "rpmsign"),
    "postgresql": ("initdb",),
    "sshd": ("ssh", "sshd", "ssh-keygen"),
}


# A shell starts what runs in its background with SIGINT ignored, and so would be all that tests
# start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What tests make is to be read by others, sandboxes among them, as files of a machine are; those
# about another umask set it themselves.
os.umask(0o022)


def pytest_runtest_setup(item: pytest.Item) -> None:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    path += "".join(f":{place}" for place in Path("/usr/lib/postgresql").glob("*/bin"))
    for marker in item.iter_markers():
        for program in TOOLS.get(marker.name, ()):
            if shutil.which(program, path=path):
                continue
            if os.environ.get("CI"):
                pytest.fail(f"{program} is missing, and CI must have it", pytrace=False)
            pytest.skip(f"{program} is not installed")


def wait_until(fact: Callable[[], object], seconds: float = 30, what: str = "") -> None:
    """Return as soon as `fact()` is true; fail the test if it is not.

    `seconds` is what it takes at most on a machine with nothing else to do; a busy one gets
    four times as long, and a minute at least.
    """
    seconds = max(60.0, 4 * seconds)
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what or fact}")
        select.select([], [], [], 0.01)
