"""What `copr_be.py check` says of build hosts, and of the files that ssh needs for them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cli import main
from backend.commands import hostchecks
from backend.commands.account import Account
from backend.config import Config, load

KEY, KNOWN = "builder_key", "known_hosts"
SOMEBODY = Account(4711, frozenset({4711}))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may look into, with a good key and good known_hosts."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        for file, mode in ((KEY, 0o600), (KNOWN, 0o644)):
            (path / file).write_text("x\n")
            (path / file).chmod(mode)
        yield path


def configured(place: Path, hosts: str = "ssh://mock@b1.example.org", more: str = "") -> Config:
    path = place / "copr-be.conf"
    files = f"identity = {place / KEY}\nknown_hosts = {place / KNOWN}\n"
    path.write_text(
        f"[backend]\nrundir = {place}/run\nstatedir = {place}/state\n"
        f"group0_hosts = {hosts}\n{more}[hosts]\n{files}"
    )
    return load(path)


def faults(config: Config, account: Account | None = None) -> list[str]:
    found = list(hostchecks.everything(config, account or Account.mine()))
    assert all(finding.name == "hosts" and "\n" not in finding.text for finding in found)
    return [finding.text for finding in found if finding.level == "fault"]


@pytest.mark.parametrize("hosts", ["ssh://mock@b1.example.org", "local ssh://mock@[::1]:2222"])
def test_all_is_well(place: Path, hosts: str) -> None:
    (finding,) = hostchecks.everything(configured(place, hosts), Account.mine())
    assert finding.level == "ok"
    assert finding.text == hosts.rsplit(maxsplit=1)[-1]


def test_where_nothing_is_built_elsewhere_nothing_is_looked_at(place: Path) -> None:
    (place / KEY).unlink()
    assert list(hostchecks.everything(configured(place, "local"), Account.mine())) == []


@pytest.mark.parametrize("name", [KEY, KNOWN])
@pytest.mark.parametrize("instead", [None, "directory", "link"])
def test_a_file_that_is_none(place: Path, name: str, instead: str | None) -> None:
    (place / name).unlink()
    if instead == "directory":
        (place / name).mkdir()
    elif instead == "link":
        (place / name).symlink_to("nowhere")
    (fault,) = faults(configured(place))
    fact = "no file" if instead == "directory" else "it does not exist"
    assert f"{place / name}: {fact}: " in fault
    assert ("ssh-keygen" if name == KEY else "ssh-keyscan") in fault


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o601])
def test_a_key_that_others_may_use(place: Path, mode: int) -> None:
    (place / KEY).chmod(mode)
    (fault,) = faults(configured(place))
    assert f"chmod 600 {place / KEY}" in fault


@pytest.mark.skipif(os.geteuid() != 0, reason="files of another user: root")
def test_what_the_daemons_user_cannot_read(place: Path) -> None:
    config = configured(place)
    (fault,) = faults(config, SOMEBODY)
    assert f"{place / KEY}: the daemon's user (4711) cannot read it" in fault
    os.chown(place / KEY, 0, 4711)
    (place / KEY).chmod(0o640)  # as a package may install it: ssh takes it
    assert faults(config, SOMEBODY) == []
    (place / KEY).chmod(0o644)
    (fault,) = faults(config, SOMEBODY)
    assert f"chown 4711 {place / KEY}" in fault
    (place / KEY).chmod(0o640)
    place.chmod(0o700)
    assert len(faults(config, SOMEBODY)) == 2


@pytest.mark.parametrize(
    ("host", "what"),
    [
        ("ssh://mock@b1:0", "port 0 is out of range"),
        ("ssh://mock@b1:65536", "port 65536 is out of range"),
        ("ssh://mock@b1:22x", "no address of a host"),
        ("ssh://mock@-oProxyCommand=x", "no address of a host"),
        ("ssh://-l@b1", "no address of a host"),
        ("ssh://mock@[::g]", "no address of a host"),
        ("ftp://mock@b1", "no address of a host"),
    ],
)
def test_an_address_that_is_none(place: Path, host: str, what: str) -> None:
    (fault,) = faults(configured(place, f"ssh://mock@b1 {host}"))
    assert what in fault
    assert host in fault
    assert f"{place}/copr-be.conf: group0_hosts: " in fault


def test_machines_that_are_made_may_tell_their_keys(place: Path) -> None:
    (place / KNOWN).unlink()
    more = "group0_spawn_command = true\ngroup0_terminate_command = true\n"
    assert faults(configured(place, "", more)) == []


def test_settings_of_ssh_that_are_not_there(place: Path) -> None:
    path = configured(place).path
    (fault,) = faults(load(path, {"hosts.ssh_config": str(place / "none")}))
    assert fault == f"[hosts] ssh_config = {place}/none: it does not exist: correct ssh_config"


def test_one_line_for_what_is_no_address_at_all(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(place).path
    assert main(["check", "-c", str(path), "-o", "backend.group0_hosts=-oProxyCommand=x"]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if "-oProxyCommand" in one]
    assert "FAULT   configuration: " in line


def test_check_says_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / KEY).unlink()
    config = configured(place, "ssh://mock@b1:99999")
    assert main(["check", "-c", str(config.path)]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "FAULT   hosts: " in line]
    assert len(lines) == 2
