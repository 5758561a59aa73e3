"""What the processes of a build use where no control group counts it: looked at from outside."""

import os
import sys
import textwrap
from pathlib import Path

import pytest

from backend import config
from backend.builders import census, limits, usage
from backend.builders.census import NAME
from backend.builders.limits import MIB, Watch
from backend.exceptions import BuildError
from backend.process import Child, find, run
from tests.conftest import wait_until


def settings(tmp_path: Path, **more: str) -> config.Config:
    path = tmp_path / "copr-be.conf"
    path.write_text("[builder]\n" + "".join(f"{key}={value}\n" for key, value in more.items()))
    return config.load(path)


def test_without_a_group_the_processes_are_counted(tmp_path: Path) -> None:
    with Child(["/bin/sh", "-c", "sleep 1000 & sleep 1000 & wait"]) as child:
        made = settings(tmp_path, max_processes="1000")
        with Watch(made, tmp_path, child.pid, None) as watch:
            watch.check()
        while usage.usage(child.pid).processes < 3:
            child.wait(0.01)
        assert usage.usage(child.pid).memory() > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_files_in_memory_count_as_memory() -> None:
    script = (
        "mount -t tmpfs x /dev/shm && mount -t tmpfs x /run && head -c 8000000 /dev/zero >/run/big"
        " && cd /dev/shm && seq 3000 | xargs touch && exec sleep 1000"
    )
    with Child([find("unshare"), "--mount", "--fork", find("sh"), "-c", script]) as child:
        while usage.usage(child.pid).memory() < 8 * 10**6 + 3000 * NAME:
            assert child.wait(0.01) is None, "root of a container may not mount"
    # What this machine itself has there is none of a build's.
    assert usage.in_memory([os.getpid()]) == (0, 0)


def test_files_that_are_removed_and_held_open_count(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    before = usage.unlinked(os.getpid(), device) or 0
    with (tmp_path / "kept").open("wb") as kept, (tmp_path / "gone").open("wb") as gone:
        for file in (kept, gone):
            file.write(bytes(3 * MIB))
            file.flush()
        (tmp_path / "gone").unlink()
        again = os.dup(gone.fileno())  # the same file
        found = usage.unlinked(os.getpid(), device) or 0
        os.close(again)
        assert 3 * MIB <= found - before < 4 * MIB
        assert usage.unlinked(os.getpid(), device + 1) == 0


def test_who_has_more_open_than_can_be_looked_at_hides_it(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("wb") as gone:
        gone.write(bytes(MIB))
        gone.flush()
        (tmp_path / "gone").unlink()
        assert usage.unlinked(os.getpid(), tmp_path.stat().st_dev, 0) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at everything")
def test_who_must_not_be_looked_into_hides_what_it_has_open(tmp_path: Path) -> None:
    said = tmp_path / "said"
    text = (
        "import ctypes, time; ctypes.CDLL(None).prctl(4, 0); print('hidden', flush=True);"
        "time.sleep(1000)"
    )
    with said.open("wb") as output, Child([sys.executable, "-c", text], stdout=output) as child:
        wait_until(lambda: said.read_bytes() == b"hidden\n", 60)
        assert usage.unlinked(child.pid, tmp_path.stat().st_dev) is None


#: Each holds 20 MB without having it mapped.
_HOLD = {
    "a file without a name": """
        fd = os.memfd_create("x")
        os.write(fd, bytes(20 * 10**6))
    """,
    "the same of a thread that has descriptors of its own": """
        def hold():
            libc.unshare(0x400)
            fd = os.memfd_create("x")
            os.write(fd, bytes(20 * 10**6))
            ready.set()
            time.sleep(1000)
        ready = threading.Event()
        threading.Thread(target=hold, daemon=True).start()
        ready.wait()
    """,
    "a segment": """
        segment = libc.shmget(0, 20 * 10**6, 0o1600)
        libc.shmat.restype = ctypes.c_void_p
        place = libc.shmat(segment, 0, 0)
        ctypes.memset(place, 1, 20 * 10**6)
        libc.shmdt(ctypes.c_void_p(place))
    """,
    "semaphores": """
        for _ in range(20): assert libc.semget(0, 16000, 0o1600) >= 0
    """,
    "messages": """
        for _ in range(20):
            queue = libc.msgget(0, 0o1600)
            while libc.msgsnd(queue, struct.pack("l", 1), 0, 0o4000) == 0: pass
    """,
    "on its way": """
        held += socket.socketpair()
        fd = os.memfd_create("x")
        os.write(fd, bytes(20 * 10**6))
        socket.send_fds(held[0], [b"x"], [fd])
        os.close(fd)
    """,
    "sockets": """
        for _ in range(200):
            pair = socket.socketpair()
            held.append(pair)
            pair[0].setblocking(False)
            try:
                while True: pair[0].send(bytes(1000))
            except BlockingIOError: pass
    """,
}
_PROGRAM = """
import ctypes, os, socket, struct, sys, threading, time
libc, held = ctypes.CDLL(None), []
{}
print("held", flush=True)
time.sleep(1000)
"""
_SPACES = "--unshare-user --unshare-ipc --unshare-net --unshare-pid --as-pid-1 --die-with-parent"


@pytest.mark.rpmbuild
@pytest.mark.parametrize("what", _HOLD)
def test_memory_that_is_not_mapped_is_counted(what: str, tmp_path: Path) -> None:
    text = _PROGRAM.format(textwrap.dedent(_HOLD[what]))
    argv = ["bwrap", *_SPACES.split(), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    said = tmp_path / "said"
    with (
        said.open("wb") as output,
        Child([*argv, sys.executable, "-c", text], stdout=output) as one,
    ):
        wait_until(lambda: said.read_bytes() == b"held\n" or one.poll() is not None, 60)
        assert said.read_bytes() == b"held\n"
        result = run([sys.executable, "-I", "-S", census.__file__, str(one.pid)], timeout=60)
        held, kernel, hidden = map(int, result.stdout.split())
        assert hidden == (what == "on its way")
        if hidden:
            return
        assert 18 * 10**6 < held + kernel < 100 * 10**6


def check_until_the_end(watch: Watch, child: Child) -> None:
    while child.wait(0.05) is None:
        watch.check()


def test_a_build_that_holds_files_of_memory_is_ended(tmp_path: Path) -> None:
    text = (
        "import os, time; held = [os.memfd_create('x') for _ in range(5)]\n"
        "for one in held: os.write(one, bytes(20 * 10**6))\n"
        "time.sleep(1000)"
    )
    with Child([sys.executable, "-c", text]) as child:
        made = settings(tmp_path, build_memory="64M", max_disk="0", max_files="0")
        with (
            Watch(made, tmp_path, child.pid, None) as watch,
            pytest.raises(BuildError, match=r"memory limit of 64 MB .build_memory."),
        ):
            check_until_the_end(watch, child)


def test_open_files_are_counted(tmp_path: Path) -> None:
    said = tmp_path / "said"
    text = (
        "import os, time; held = [os.dup(0) for _ in range(600)]; print('held', flush=True);"
        "time.sleep(1000)"
    )
    with said.open("wb") as output, Child([sys.executable, "-c", text], stdout=output) as child:
        wait_until(lambda: said.read_bytes() == b"held\n", 60)
        assert 300 <= usage.open_files(child.pid) <= 1000
    used, most = usage.files_of_all()
    assert 0 < used < most


def test_what_the_machine_does_not_use_no_build_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "usage", lambda _: usage.Used(own=30 * MIB, processes=1))
    made = settings(tmp_path, build_memory="20M")
    with Watch(made, tmp_path, os.getpid(), None) as watch:
        monkeypatch.setattr(limits, "used_by_all", lambda: 20 * MIB)
        watch.check()
        monkeypatch.setattr(limits, "used_by_all", lambda: 40 * MIB)
        with pytest.raises(BuildError, match=r"memory limit of 20 MB \(build_memory\)"):
            watch.check()


def test_a_process_that_is_just_starting_another_is_not_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [30 * MIB, MIB]
    monkeypatch.setattr(limits, "used_by_all", lambda: 40 * MIB)
    monkeypatch.setattr(limits, "usage", lambda _: usage.Used(own=seen.pop(0), processes=1))
    with Watch(settings(tmp_path, build_memory="20M"), tmp_path, os.getpid(), None) as watch:
        watch.check()
    assert not seen


def test_a_process_whose_first_thread_has_ended_is_counted(tmp_path: Path) -> None:
    text = """
import ctypes, threading, time
def go_on():
    held = b"x" * (20 * 10**6)
    print("held", flush=True)
    time.sleep(1000)
threading.Thread(target=go_on).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    said = tmp_path / "said"
    with said.open("wb") as output, Child([sys.executable, "-c", text], stdout=output) as child:
        wait_until(lambda: said.read_bytes() == b"held\n", 60)
        stat = Path(f"/proc/{child.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "Z", 60)
        assert usage.usage(child.pid).own > 20 * 10**6


def test_no_process_lies_about_itself_by_its_name(tmp_path: Path) -> None:
    name = b"\xff\rRssAnon:\t0"
    program = tmp_path / os.fsdecode(name)
    program.symlink_to(find("sleep"))
    with Child([str(program), "600"]) as child:
        wait_until(lambda: Path(f"/proc/{child.pid}/comm").read_bytes() == name + b"\n")
        found = usage.usage(child.pid)
        assert found.own > 0
        assert found.processes == 1
