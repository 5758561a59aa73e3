"""What the quickstart decides and prints; the daemon and the frontend are stand-ins."""

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from backend import quickstart
from backend.config import load
from backend.constants import Exit
from backend.exceptions import BuildError, ConfigError, CoprBackendError, Stopped
from backend.quickstart import LONGEST_RUNDIR, credentials, pack, prepare, summary
from backend.quickstart.client import Build, BuildChroot
from backend.quickstart.daemon import Daemon, DaemonEnded
from backend.quickstart.follow import LogReader, Unfinished, follow, step


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else sockets of tests whose directory has a long name would lie elsewhere, and stay there."""
    monkeypatch.setattr(quickstart, "LONGEST_RUNDIR", 1000)


def daemon(tmp_path: Path, script: str, grace: float = 60) -> Daemon:
    """A daemon whose program is `script`; it can `tell("READY=1")`."""
    program = tmp_path / "stand_in.py"
    head = """
        import os, signal, socket, sys
        def tell(text):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
    """
    program.write_text(textwrap.dedent(head) + textwrap.dedent(script))
    command = (sys.executable, str(program))
    return Daemon(
        tmp_path / "copr-be.conf",
        {"web.port": "1"},
        rundir=tmp_path,
        grace=grace,
        command=command,
    )


def test_config_keeps_everything_below_state(tmp_path: Path) -> None:
    config = prepare(tmp_path / "var", None)
    for path in (config.destdir, config.statedir, config.log_dir, config.web_cli_config):
        assert path.is_relative_to(tmp_path / "var")
    assert config.web_port == 5000


def test_config_of_the_first_run_is_kept(tmp_path: Path) -> None:
    first = prepare(tmp_path, 5123)
    first.path.write_text(first.path.read_text() + "admin_user = jdoe\n")
    again = prepare(tmp_path, None)
    assert (again.web_admin_user, again.web_port) == ("jdoe", 5123)


def test_port_of_this_run_wins_over_the_file(tmp_path: Path) -> None:
    prepare(tmp_path, 5123)
    assert prepare(tmp_path, 5124).web_port == 5124
    assert load(tmp_path / "copr-be.conf").web_port == 5123


def test_port_out_of_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 65535"):
        prepare(tmp_path, 70000)


def test_long_state_path_gets_a_short_private_rundir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickstart, "LONGEST_RUNDIR", LONGEST_RUNDIR)
    state = tmp_path / ("x" * 100)
    config = prepare(state, None)
    try:
        assert len(os.fsencode(config.rundir)) <= LONGEST_RUNDIR
        assert config.rundir.stat().st_mode & 0o777 == 0o700
        config.rundir.rmdir()  # as a reboot does
        assert prepare(state, None).rundir.is_dir()
    finally:
        config.rundir.rmdir()


def test_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*file/var.*--state"):
        prepare(tmp_path / "file" / "var", None)


def test_credentials_are_read_from_the_cli_config(tmp_path: Path) -> None:
    path = tmp_path / "copr-cli.conf"
    path.write_text("[copr-cli]\nusername = a\nlogin = b\ntoken = c%d\n")
    assert credentials(path, "http://h:5000") == ("a", "b", "c%d")
    assert "copr_url = http://h:5000\n" in path.read_text()
    assert credentials(path, "http://h:5001") == ("a", "b", "c%d")
    assert "copr_url = http://h:5001\n" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [None, "", "[copr-cli]\nusername = a\n", "username"])
def test_unusable_credentials_name_the_file(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "copr-cli.conf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=r"copr-cli\.conf cannot be used"):
        credentials(path, "http://h:5000")


@pytest.mark.rpmbuild
def test_sample_is_packed_into_one_source_rpm(tmp_path: Path) -> None:
    pack(tmp_path / "with space")
    srpm = pack(tmp_path / "with space")
    assert srpm.name == "coprhello-1.0-1.src.rpm"
    assert srpm.read_bytes()[:4] == b"\xed\xab\xee\xdb"


def test_summary_ends_in_exactly_three_commands(tmp_path: Path) -> None:
    config = prepare(tmp_path, None)
    build = Build(id=7, state="succeeded", repo_url="http://h/results/admin/sample")
    lines = summary(config, build, "http://h/results/admin/sample/c/", tmp_path / "a.src.rpm")
    commands = [line for line in lines if line.startswith("  ")]
    assert len(commands) == 3
    assert "dnf --repofrompath=sample,http://h/results/admin/sample/c/ " in commands[0]
    assert all(f"copr-cli --config {config.web_cli_config}" in line for line in commands[1:])
    assert any("http://127.0.0.1:5000/coprs/build/7" in line for line in lines)


# --- the daemon as a child ------------------------------------------------------------------


def test_status_lines_come_until_ready(tmp_path: Path) -> None:
    script = """
        assert sys.argv[1] == "-c" and sys.argv[3:] == ["-o", "web.port=1"], sys.argv
        tell("STATUS=starting redis-server")
        tell("READY=1\\nSTATUS=serving")
        signal.pause()
    """
    lines: list[str] = []
    with daemon(tmp_path, script) as child:
        child.wait_ready(100, lines.append)
    assert lines == ["starting redis-server", "serving"]


def test_last_words_of_a_daemon_that_does_not_start(tmp_path: Path) -> None:
    script = """
        print("noise", file=sys.stderr)
        print("copr_be.py: port 5000 is taken: choose another", file=sys.stderr)
        sys.exit(3)
    """
    with daemon(tmp_path, script) as child, pytest.raises(DaemonEnded) as caught:
        child.wait_ready(100, print)
    assert str(caught.value) == "port 5000 is taken: choose another"
    assert caught.value.exit_code == Exit.ALREADY_RUNNING


@pytest.mark.parametrize("end", ["sys.exit(0)", "os.kill(os.getpid(), 9)", "sys.exit(77)"])
def test_any_other_early_end_is_a_failure(tmp_path: Path, end: str) -> None:
    with daemon(tmp_path, end) as child, pytest.raises(DaemonEnded) as caught:
        child.wait_ready(100, print)
    assert caught.value.exit_code == Exit.FAILED


def test_daemon_that_dies_later_is_noticed_at_once(tmp_path: Path) -> None:
    def serve() -> None:
        with daemon(tmp_path, "tell('READY=1'); sys.exit('out of disk')") as child:
            child.wait_ready(100, print)
            child.wait_end()

    with pytest.raises(DaemonEnded, match="out of disk"):
        serve()


def test_routine_output_waits_for_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = """
        print("2026-01-01T00:00:00Z INFO    main: routine")
        print("2026-01-01T00:00:00Z WARNING main: news", flush=True)
        tell("READY=1")
        signal.pause()
    """
    with daemon(tmp_path, script) as child:
        child.wait_ready(100, print)
    err = capsys.readouterr().err
    assert "news" in err
    assert "routine" not in err


def test_readiness_has_a_limit(tmp_path: Path) -> None:
    late = pytest.raises(CoprBackendError, match="not get ready within")
    with daemon(tmp_path, "signal.pause()") as child, late:
        child.wait_ready(0.05, print)


def test_signal_ends_the_wait_and_term_reaches_the_daemon(tmp_path: Path) -> None:
    script = f"""
        def note(*_):
            open({str(tmp_path / "terminated")!r}, "w").close()
            sys.exit(0)
        signal.signal(signal.SIGTERM, note)
        tell("READY=1")
        while True: signal.pause()
    """
    before = signal.getsignal(signal.SIGTERM)
    with daemon(tmp_path, script) as child:
        child.wait_ready(100, print)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Stopped):
            child.wait_end()
    assert (tmp_path / "terminated").exists()
    assert signal.getsignal(signal.SIGTERM) == before


def test_daemon_deaf_to_term_is_killed(tmp_path: Path) -> None:
    script = """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        tell(f"STATUS={os.getpid()}\\nREADY=1")
        while True: signal.pause()
    """
    pids: list[str] = []
    with daemon(tmp_path, script, grace=0.1) as child:
        child.wait_ready(100, pids.append)
    assert not Path("/proc", pids[0]).exists()


# --- following a build ----------------------------------------------------------------------


class Frontend:
    """Plays a list of (build state, chroot states, {url: log so far}), one per look."""

    def __init__(self, *looks: tuple[str, dict[str, str], dict[str, bytes]]) -> None:
        self.looks = list(looks)

    def build(self, number: int) -> Build:
        return Build(id=number, state=self.looks[0][0], repo_url="http://h/results/a/s")

    def chroots(self, number: int) -> list[BuildChroot]:
        return [
            BuildChroot(name=name, state=state, result_url=f"http://h/{name}/")
            for name, state in self.looks[0][1].items()
        ]

    def text(self, url: str, offset: int) -> bytes:
        return self.looks[0][2].get(url, b"")[offset:]

    def wait(self, seconds: float | None) -> list[str]:
        if len(self.looks) > 1:
            self.looks.pop(0)
        return []


def test_progress_is_told_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    source = {"http://h/results/a/s/srpm-builds/00000007/builder-live.log": b"fetching\n"}
    url = "http://h/deb/builder-live.log"
    part = b"Executing(%prep): /bin/sh -e /x\n+ make\nExecuting(%bu"
    rest = part + b"ild): /bin/sh -e /x\nWrote: /b/RPMS/hello-1-1.x86_64.rpm\n"
    play = Frontend(
        ("pending", {}, {}),
        ("running", {}, source),
        ("running", {"deb": "running"}, {**source, url: part}),
        ("running", {"deb": "running"}, {**source, url: part}),
        ("succeeded", {"deb": "succeeded"}, {**source, url: rest}),
    )
    assert follow(play, play, 7, limit=60).state == "succeeded"
    assert capsys.readouterr().out.splitlines() == [
        "build 7: pending",
        "build 7: running",
        "deb: running",
        "  deb | %prep",
        "  deb | %build",
        "  deb | wrote hello-1-1.x86_64.rpm",
        "deb: succeeded",
        "build 7: succeeded",
    ]


def test_failed_build_shows_the_end_of_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://h/deb/builder-live.log"
    log = b"".join(b"line %d\n" % number for number in range(100)) + b"error: no luck\n"
    play = Frontend(("failed", {"deb": "failed"}, {url: log}))
    assert follow(play, play, 7, limit=60).state == "failed"
    out = capsys.readouterr().out
    assert "  deb | error: no luck" in out
    assert "line 50" not in out


def test_a_build_that_never_ends_has_a_limit() -> None:
    play = Frontend(("running", {}, {}))
    with pytest.raises(BuildError, match="still running"):
        follow(play, play, 7, limit=-1)


def test_who_serves_goes_on_while_the_sample_waits_behind_long_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def late(*_: object) -> None:
        raise Unfinished("build 7 is still pending after 900 s")

    monkeypatch.setattr(quickstart, "first_build", late)
    config, stand_in = prepare(tmp_path, None), daemon(tmp_path, "")
    quickstart.try_sample(config, stand_in, tmp_path, once=False)
    assert "build 7 is still pending after 900 s: http" in capsys.readouterr().out
    with pytest.raises(BuildError, match="still pending"):
        quickstart.try_sample(config, stand_in, tmp_path, once=True)


@pytest.mark.parametrize("line", ["", "+ make", "x Executing(%prep): no", "Wrote nothing"])
def test_most_lines_are_no_step(line: str) -> None:
    assert step(line) is None


def test_log_reader_survives_odd_bytes() -> None:
    play = Frontend(("running", {}, {"u": b"\xff\xfe\r\nhalf"}))
    reader = LogReader("u")
    assert reader.new_lines(play) == ["\ufffd\ufffd"]
    assert reader.new_lines(play) == []
