"""Control groups and watching: who may use how much, on trees that look like the kernel's."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from backend import config, disk
from backend.builders import cgroup, limits, prelude, usage
from backend.builders.cgroup import Group, Nowhere, Place
from backend.builders.limits import Watch
from backend.exceptions import BuildError
from backend.process import Child, run


def settings(tmp_path: Path, **more: str) -> config.Config:
    path = tmp_path / "copr-be.conf"
    path.write_text("[builder]\n" + "".join(f"{key}={value}\n" for key, value in more.items()))
    return config.load(path)


class Kernel:
    """A tree as below /sys/fs/cgroup, and a /proc/self/cgroup."""

    def __init__(self, top: Path, own: str) -> None:
        self.root, self.proc = top / "cgroup", top / "proc"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/cgroup").write_text(own)

    def second(self, path: str, controllers: str) -> Path:
        made = self.root / path
        made.mkdir(parents=True)
        (made / "cgroup.controllers").write_text(controllers)
        for name in ("cgroup.procs", "cgroup.subtree_control"):
            (made / name).write_text("")
        return made


def test_version_2_without_the_controllers_is_named(tmp_path: Path) -> None:
    kernel = Kernel(tmp_path, "0::/user.slice\n")
    kernel.second("user.slice", "cpu io")
    found = cgroup.find(root=kernel.root, proc=kernel.proc)
    assert isinstance(found, Nowhere)
    assert "lacks the controllers memory, pids" in str(found)
    assert str(found).startswith("prlimit and watching, no cgroup: ")


def test_version_2_beside_the_daemons_own_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, "0::/service/daemon\n")
    service = kernel.second("service", "cpu memory pids")
    monkeypatch.setattr(cgroup, "_works", lambda place: True)
    found = cgroup.find(root=kernel.root, proc=kernel.proc)
    assert found == Place(version=2, parents={"memory": service, "pids": service})
    assert (service / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_version_1_is_taken_where_both_controllers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(tmp_path, "8:pids:/a\n4:memory:/b\n0::/\n")
    for path in ("pids/a", "memory/b"):
        (kernel.root / path).mkdir(parents=True)
        (kernel.root / path / "cgroup.procs").write_text("")
    monkeypatch.setattr(cgroup, "_works", lambda place: True)
    found = cgroup.find(root=kernel.root, proc=kernel.proc)
    assert isinstance(found, Place)
    assert found.version == 1
    assert found.parents["memory"] == kernel.root / "memory/b"


def test_switched_off_and_a_foreign_directory(tmp_path: Path) -> None:
    assert "switched off" in str(cgroup.find("no"))
    assert "No such file" in str(cgroup.find(str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("version", "memory_file", "memory_text"),
    [(1, "memory.oom_control", "oom_kill_disable 0\noom_kill 2\n"), (2, "memory.events", "")],
)
def test_a_group_says_what_was_exceeded(
    tmp_path: Path, version: int, memory_file: str, memory_text: str
) -> None:
    place = Place(version=version, parents=dict.fromkeys(cgroup.NEEDED, tmp_path))
    group = Group(place, "g", memory=1000, processes=50)
    (tmp_path / "g").mkdir()
    assert not group.out_of_memory()
    assert not group.out_of_processes()
    (tmp_path / "g" / memory_file).write_text(memory_text or "oom 5\noom_kill 1\n")
    (tmp_path / "g/pids.events").write_text("max 3\n")
    assert group.out_of_memory()
    assert group.out_of_processes()


def test_groups_of_killed_processes_are_swept(tmp_path: Path) -> None:
    place = Place(version=2, parents=dict.fromkeys(cgroup.NEEDED, tmp_path))
    mine, state = cgroup.name(tmp_path / "state", 3), tmp_path / "state"
    nobody = f"-{2**22 + 1}-3"
    dead = mine.removesuffix(f"-{os.getpid()}-3") + nobody
    other = cgroup.name(tmp_path / "other", 3).removesuffix(f"-{os.getpid()}-3") + nobody
    for name in (mine, dead, other):
        (tmp_path / name).mkdir()
    cgroup.sweep(place, state)
    assert sorted(path.name for path in tmp_path.glob("copr-be-*")) == sorted([mine, other])


def test_half_of_the_machine_unless_configured(tmp_path: Path) -> None:
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert limits.memory(settings(tmp_path)) == whole // 2
    assert limits.memory(settings(tmp_path, build_memory="1G")) == 1024**3


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("sh: fork: retry: Resource temporarily unavailable", "max_processes"),
        ("head: write error: File too large", "max_file"),
        ("MemoryError", "max_memory"),
        ("make: *** [all] Error 1", ""),
    ],
)
def test_what_prlimit_refuses_is_named(words: str, option: str) -> None:
    assert (option in limits.hint(words)) if option else not limits.hint(words)


def test_too_many_processes_end_a_build(tmp_path: Path) -> None:
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do sleep 1000 & done; wait"
    with Child(["/bin/sh", "-c", script]) as child:
        while usage.usage(child.pid).processes < 17:
            child.wait(0.01)
        made = settings(tmp_path, max_processes="16")
        with (
            Watch(made, tmp_path, child.pid, None) as watch,
            pytest.raises(BuildError, match=r"limit of 16 processes .max_processes."),
        ):
            watch.check()


def check_for_ever(watch: Watch) -> None:
    while True:  # as often as it takes: du runs beside it
        watch.check()


@pytest.mark.parametrize(
    ("option", "text"), [("max_disk", r"disk limit of 1 MB .max_disk"), ("max_files", r"than 5 f")]
)
def test_the_disk_is_watched_while_it_runs(tmp_path: Path, option: str, text: str) -> None:
    area = tmp_path / "area"
    area.mkdir()
    made = settings(tmp_path, **{option: {"max_disk": "1M", "max_files": "5"}[option]})
    with Child(["/bin/sh", "-c", "sleep 1000"]) as child:
        with Watch(made, area, child.pid, None) as watch:
            for _ in range(3):
                watch.check()
        for number in range(9):
            (area / f"f{number}").write_bytes(b"x" * 300_000)
        with Watch(made, area, child.pid, None) as watch, pytest.raises(BuildError, match=text):
            check_for_ever(watch)


@pytest.mark.rpmbuild
@pytest.mark.parametrize(("wanted", "fits"), [(30, True), (60, False)])
def test_what_else_an_ordinary_user_runs_takes_nothing_from_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, fits: bool
) -> None:
    """Other builds of the same user, which begin after this one, do not either."""
    become: list[str] = []
    if os.geteuid() == 0:
        become = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    made = settings(tmp_path, max_processes="40")
    start = "for _ in $(seq {}); do sleep 600 & done; echo all"
    argv = [*become, *prelude.limit(made, None), "bwrap", "--ro-bind", "/", "/"]
    argv += ["--unshare-user", "--unshare-pid", "--as-pid-1", "--die-with-parent", "--"]
    argv += [*prelude.limit_inside(made, None, "/bin/sh"), "/bin/sh", "-c", start.format(wanted)]
    others = subprocess.Popen(
        [*become, "sh", "-c", start.format(60) + "; wait"], stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    with others:
        try:
            assert others.stdout
            assert others.stdout.readline() == b"all\n"
            result = run(argv, timeout=60)
        finally:
            os.killpg(others.pid, signal.SIGKILL)
    assert (result.code == 0) == fits, result.last_line


@pytest.mark.parametrize(("version", "file"), [(1, "tasks"), (2, "cgroup.procs")])
def test_the_door_of_a_group_is_the_one_that_need_not_wait(
    tmp_path: Path, version: int, file: str
) -> None:
    place = Place(version=version, parents={"memory": tmp_path / "m", "pids": tmp_path / "p"})
    group = Group(place, "g", memory=1000, processes=50)
    assert group.doors == (f"{tmp_path}/m/g/{file}", f"{tmp_path}/p/g/{file}")


def test_message_queues_have_a_limit_where_no_group_counts_them(tmp_path: Path) -> None:
    place = Place(version=1, parents=dict.fromkeys(cgroup.NEEDED, tmp_path))
    group = Group(place, "g", memory=1000, processes=50)
    found = [word for word in prelude.limit(settings(tmp_path), None) if "msgqueue" in word]
    assert len(found) == 1
    assert int(found[0].rpartition(":")[2]) <= 819200
    assert not any("msgqueue" in word for word in prelude.limit(settings(tmp_path), group))


@pytest.mark.parametrize(("used", "own", "ends"), [(900, 400, True), (900, 90, False)])
def test_no_build_has_all_open_files_of_the_machine(
    used: int, own: int, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "files_of_all", lambda: (used, 1000))
    monkeypatch.setattr(limits, "open_files", lambda _: own)
    made = settings(tmp_path, max_disk="0", max_files="0")
    with Watch(made, tmp_path, os.getpid(), None) as watch:
        if ends:
            with pytest.raises(BuildError, match=r"of the 1000 files .* \(fs.file-max\)"):
                watch.check()
        else:
            watch.check()


def test_what_nobody_can_tell_is_all_that_is_gone_but_not_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, held = [10**10], [0, None, None, None]
    monkeypatch.setattr(disk, "free", lambda _: free[0])
    monkeypatch.setattr(limits, "unlinked", lambda *_: held.pop(0))
    with Watch(settings(tmp_path, max_disk="1G"), tmp_path, os.getpid(), None) as watch:
        free[0] -= 800 * limits.MIB
        assert watch.hidden() == 0
        assert watch.hidden() == 800 * limits.MIB
        watch._judge([700 * limits.MIB, 1])
        free[0] -= 400 * limits.MIB
        with pytest.raises(BuildError, match="max_disk"):
            watch._judge([700 * limits.MIB, 1])
        assert not held


@pytest.mark.parametrize("closed", [False, True])
def test_where_directories_are_closed_all_that_is_gone_is_the_builds(
    closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [10**10]
    monkeypatch.setattr(disk, "free", lambda _: free[0])
    monkeypatch.setattr(disk, "closed", lambda _: closed)
    with Watch(settings(tmp_path), tmp_path, os.getpid(), None) as watch:
        free[0] -= 10**9
        assert (watch.hidden() >= 10**9) is closed


def test_a_trial_that_was_killed_is_swept(tmp_path: Path) -> None:
    place = Place(version=2, parents=dict.fromkeys(cgroup.NEEDED, tmp_path))
    old, young = tmp_path / "copr-be-try-4194305", tmp_path / "copr-be-try-4194306"  # no such pid
    living = tmp_path / f"copr-be-try-{os.getpid()}"
    for path in (old, young, living):
        path.mkdir()
    for path in (old, living):
        os.utime(path, (1, 1))
    cgroup.sweep(place, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {young.name, living.name}
