"""The command line: classic calls, subcommands, and what is said when it is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backend import arguments, cli, dispatch
from backend.manpage import commands


def test_the_classic_call_works_as_ever() -> None:
    args = arguments.parser().parse_args(["-c", "a.conf", "-d", "-p", "a.pid", "-x", "-v"])
    assert (args.config, args.pidfile) == (Path("a.conf"), Path("a.pid"))
    assert (args.daemonize, args.exit_on_worker, args.verbose) == (True, True, True)
    assert args.command == "run"


def test_nothing_at_all_runs_with_the_default_configuration() -> None:
    args = arguments.parser().parse_args([])
    assert args.command == "run"
    assert args.config == Path("/etc/copr/copr-be.conf")
    assert not args.daemonize


@pytest.mark.parametrize(
    "line", ["-c a.conf -p x status", "status -c a.conf -p x", "-c b -p y status -c a.conf -p x"]
)
def test_options_stand_before_or_after_the_command(line: str) -> None:
    args = arguments.parser().parse_args(line.split())
    assert (args.config, args.pidfile) == (Path("a.conf"), Path("x"))
    assert args.command == "status"


def test_every_command_is_known_to_the_dispatch() -> None:
    assert set(dispatch.COMMANDS) == set(commands(arguments.parser()))


def test_overrides_before_and_after_the_command_add_up() -> None:
    args = arguments.parser().parse_args(["-o", "web.port=1", "check", "-o", "web.port=2"])
    assert dispatch.overrides(args) == {"web.port": "2"}


def test_a_relative_pid_file_is_meant_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    args = arguments.parser().parse_args(["-d", "-p", "here.pid"])
    assert dispatch.pid_file(args) == tmp_path / "here.pid"


@pytest.mark.parametrize("name", ["", *dispatch.COMMANDS])
def test_every_command_teaches(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main([*name.split(), "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert "--config" in said
    assert [line for line in said.splitlines() if len(line) > 80] == []


def test_every_argument_of_every_command_is_explained() -> None:
    for name, (sub, _) in commands(arguments.parser()).items():
        assert [action.dest for action in sub._actions if not action.help] == [], name


def test_a_misspelt_command_is_answered_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["statsu"])
    assert caught.value.code == 2
    assert "status" in capsys.readouterr().err


def test_every_command_that_people_are_told_of_exists() -> None:
    top = Path(dispatch.__file__).parent
    files = [*top.rglob("*.py"), *top.rglob("*.html")]
    found = {
        (path.name, word)
        for path in files
        for word in re.findall(r"copr_be\.py ([a-z][a-z-]+)", path.read_text("utf-8"))
    }
    assert len(found) > 20
    assert [one for one in sorted(found) if one[1] not in dispatch.COMMANDS] == []


def test_errors_are_errors_in_the_journal(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        pipe = os.fstat(writer)
        env = {**os.environ, "JOURNAL_STREAM": f"{pipe.st_dev}:{pipe.st_ino}"}
        command = [sys.executable, "-m", "backend.cli", "-c", str(tmp_path / "none.conf")]
        code = subprocess.run(command, env=env, stderr=writer, check=False).returncode
        assert code == 2
        assert os.read(reader, 9999).startswith(b"<3>copr_be.py: configuration ")
    finally:
        os.close(reader)
        os.close(writer)


def test_every_mistake_in_a_configuration_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.conf"
    path.write_text("[backend]\nfoo = 1\n[web]\nport = none\n[builder]\ntimeout = 0\n")
    assert cli.main(["status", "-c", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"copr_be.py: {path}: ") for line in lines)
