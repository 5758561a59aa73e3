"""What the command line of the sandbox promises, without starting it."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from backend import config
from backend.builders import prelude, sandbox, view
from backend.builders.cgroup import Group
from backend.builders.sandbox import UID_RANGE, Area, Sandbox


@pytest.fixture
def settings(tmp_path: Path) -> config.Config:
    path = tmp_path / "copr-be.conf"
    path.write_text("[backend]\n[builder]\nuid=60706\n")
    return config.load(path)


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "find", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(sandbox, "strictest", [])  # whatever this machine allows


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The directory of an area, below one that no build may know."""
    path = tmp_path / "secret/area"
    path.mkdir(parents=True)
    return path


def options(box: Sandbox, area: Area, net: bool = False) -> tuple[list[str], list[str]]:
    """The visible command line, and what bubblewrap reads from the descriptor."""
    with box.command(area, ["true"], binds=["--bind", "{}/results", "/r"], net=net) as command:
        argv = list(command.argv)
        fd = int(argv[argv.index("--args") + 1])
        return argv, os.pread(fd, 10**6, 0).decode().split("\0")


def test_slots_wrap_below_systemds_dynamic_users(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", lambda *_args, **_kwargs: None)
    uids = [Area.make(settings, tmp_path, slot).uid for slot in (0, 1, UID_RANGE - 1, UID_RANGE)]
    assert uids == [60706, 60707, 61183, 60706]


def test_root_drops_everything_before_bubblewrap(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, secret: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    argv, _ = options(Sandbox(settings), Area(path=secret, uid=60706))
    before = argv[: argv.index("/usr/bin/bwrap")]
    setpriv = before[before.index("/usr/bin/setpriv") :]
    assert setpriv[1:5] == ["--reuid", "60706", "--regid", "60706"]
    assert {"--no-new-privs", "--clear-groups", "--bounding-set=-all"} <= set(setpriv)
    assert setpriv[setpriv.index("--pdeathsig") + 1] == "KILL"


def test_nothing_begins_for_a_worker_that_was_killed_meanwhile(tmp_path: Path) -> None:
    """It could not be asked in time to tell of its death."""
    begun, group = tmp_path / "begun", cast(Group, SimpleNamespace(doors=(str(tmp_path / "door"),)))
    command = [*prelude.enter(tmp_path, 60706, "", (), group), "touch", str(begun)]
    by_another = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
    assert subprocess.run(by_another, check=False).returncode == 94
    assert not begun.exists()
    subprocess.run(command, check=True)
    assert begun.exists()
    as_root = prelude.enter(tmp_path, 60706, "/mnt", (), group)
    question = command[2].partition("for")[0]
    assert as_root[as_root.index("-c") + 1].startswith(question)


def test_bubblewraps_own_command_line_shows_no_host_path(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, secret: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    argv, inside = options(Sandbox(settings), Area(path=secret, uid=1000))
    assert not [word for word in argv if "/secret" in word]
    assert f"{secret}/results" in inside
    assert {"--disable-userns", "--unshare-net", "--die-with-parent", "--as-pid-1"} <= set(inside)


def test_the_network_is_shared_only_on_request(
    settings: config.Config, monkeypatch: pytest.MonkeyPatch, secret: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, inside = options(Sandbox(settings), Area(path=secret, uid=1000), net=True)
    assert "--unshare-net" not in inside
    assert "--unshare-user" in inside


@pytest.mark.parametrize(
    ("links", "place"),
    [
        ({"usr/bin/sh": "dash"}, "usr/bin/dash"),
        ({"usr/bin/sh": "/bin/dash", "bin": "usr/bin"}, "usr/bin/dash"),
        ({"usr/bin/sh": "/etc/alternatives/sh", "etc/alternatives/sh": "/usr/bin/dash"},
         "usr/bin/dash"),
        ({"usr/bin/sh": "bash"}, ""),
        ({"usr/bin/sh": "missing"}, ""),
        ({"usr/bin/sh": "sh"}, ""),
        ({"usr/bin/sh": "../../../../../outside"}, ""),
    ],
)  # fmt: skip
def test_bash_is_shown_in_place_of_the_file_that_is_the_shell(
    links: dict[str, str], place: str, tmp_path: Path
) -> None:
    """Not in place of the link to it: bubblewrap 0.11 refuses to mount there."""
    for name in ("dash", "bash"):
        (tmp_path / "usr/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/bin" / name).touch()
    for path, target in links.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).symlink_to(target)
    root = view.Root(trees=(tmp_path,), shown=str(tmp_path))
    assert view.other_shell(root) == place
    mounts = view.system(root, shell=view.other_shell(root))
    assert ("/usr/bin/dash" in mounts) == (place == "usr/bin/dash")
    assert "/usr/bin/sh" not in mounts


def test_an_area_that_a_build_has_closed_is_opened_again(
    settings: config.Config, tmp_path: Path
) -> None:
    """An ordinary user's bubblewrap starts in it to clean up."""
    area = Area.make(settings, tmp_path, 0)
    for name in ("build", "tmp", "vartmp", "results"):
        (area.path / name).chmod(0)
    Area.make(settings, tmp_path, 0)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in area.path.iterdir()}
    assert modes == {"build": 0o700, "results": 0o700, "tmp": 0o1777, "vartmp": 0o1777}
