"""What `copr_be.py check` finds, and that it finds all of it at once."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend import process
from backend.cli import main
from backend.commands import checks, webchecks
from backend.commands.account import Account
from backend.commands.finding import CONFIGURATION
from backend.config import Config, load
from tests.frontend.server import PASSWORD, RecordedFrontend, recorded, status
from tests.frontend.server import Fault as Broken
from tests.ports import free_port


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "copr-be.conf"
    keys = ("destdir", "statedir", "rundir", "log_dir")
    path.write_text(
        "[backend]\n"
        + "".join(f"{key} = {tmp_path / key}\n" for key in keys)
        + f"[web]\nport = {free_port()}\n"
    )
    return load(path)


@pytest.fixture
def frontend(tmp_path: Path) -> Iterator[RecordedFrontend]:
    with recorded(tmp_path) as server:
        yield server


def real(config: Config, url: str, password: str = PASSWORD) -> Config:
    return load(
        config.path,
        {
            "backend.frontend_base_url": url,
            "backend.frontend_auth": password,
            "backend.results_baseurl": "http://results.example.org",
        },
    )


def levels(findings: Any) -> dict[str, str]:
    return {finding.name: finding.level for finding in findings}


def test_missing_directories_are_no_fault_and_are_not_made(config: Config) -> None:
    assert set(levels(checks.directories(config, Account.mine())).values()) == {"ok"}
    assert not config.statedir.exists()


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "level"),
    [(0, 0, 0o700, "ok"), (10, 0, 0o700, "fault"), (10, 0, 0o777, "ok"), (10, 0, 0o775, "ok")],
)
def test_rights_are_those_of_the_account(
    config: Config, uid: int, gid: int, mode: int, level: str
) -> None:
    if os.geteuid():
        pytest.skip("the directory must be root's")
    config.destdir.mkdir()
    config.destdir.chmod(mode)
    account = Account(uid, frozenset({gid}))
    assert levels(checks.directories(config, account))["destdir"] == level


def test_a_file_in_the_way_is_named(config: Config) -> None:
    config.destdir.touch()
    (finding,) = [f for f in checks.directories(config, Account.mine()) if f.level == "fault"]
    assert "is no directory: correct destdir" in finding.text


@pytest.mark.parametrize(
    ("free", "level"), [(10 * 1024**2, "fault"), (1024**3, "warning"), (1024**4, "ok")]
)
def test_room_is_needed(
    config: Config, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    class Usage:
        def __init__(self) -> None:
            self.free = free

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    assert set(levels(checks.disk_space(config)).values()) == {level}


def test_a_taken_port_is_a_fault(config: Config) -> None:
    assert webchecks.port(config, None).level == "ok"
    with socket.create_server(("127.0.0.1", config.web_port)):
        finding = webchecks.port(config, None)
    assert finding.level == "fault"
    assert "set another [web] port" in finding.text


def test_a_redis_that_is_away_is_a_fault_without_its_password(config: Config) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    finding = checks.queue_server(load(config.path, {"backend.redis_url": url}), None)
    assert finding.level == "fault"
    assert "correct redis_url" in finding.text
    assert "secret" not in finding.text


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"redis_version": "6.0.16"}, "fault"),
        ({"redis_version": "6.2.0"}, "ok"),
        ({"redis_version": "8.0", "maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, "ok"),
        ({"redis_version": "8.0", "maxmemory": 9, "maxmemory_policy": "allkeys-lru"}, "warning"),
    ],
)
def test_a_redis_must_be_new_and_keep_everything(info: dict[str, Any], level: str) -> None:
    assert checks._judge_redis("here", info).level == level


def test_an_option_that_redis_does_not_know_is_a_mistake(config: Config) -> None:
    for query in ("foo=bar", "socket_timeout=abc"):
        url = f"redis://:secret@127.0.0.1:1/0?{query}"
        finding = checks.queue_server(load(config.path, {"backend.redis_url": url}), None)
        assert (finding.name, finding.level) == (CONFIGURATION, "fault")
        assert "redis_url = …: " in finding.text
        assert "correct the part after ?" in finding.text


@pytest.mark.parametrize("name", ["x" * 300, "loop", "nowhere"])
def test_directories_that_can_be_nowhere_are_named(config: Config, name: str) -> None:
    (config.path.parent / "loop").symlink_to("loop")
    (config.path.parent / "nowhere").symlink_to("missing")
    odd = load(config.path, {"backend.destdir": f"{config.path.parent}/{name}"})
    assert levels(checks.directories(odd, Account.mine()))["destdir"] == "fault"
    assert set(levels(checks.disk_space(odd))) == {"space for statedir"}


@pytest.mark.parametrize(
    ("host", "remedy"), [("999.1.1.1", "correct [web] host"), ("192.0.2.1", "correct [web] host")]
)
def test_an_address_that_is_not_ours_is_named(config: Config, host: str, remedy: str) -> None:
    finding = webchecks.port(load(config.path, {"web.host": host}), None)
    assert finding.level == "fault"
    assert finding.text.endswith(remedy)
    assert "attempting" not in finding.text


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nosuch://secret@x", "write postgresql+psycopg://"),
        ("/var/lib/x.db", "write postgresql+psycopg://"),
        ("sqlite://", "no file: write sqlite:////ABSOLUTE/PATH"),
        ("sqlite:///relative.db", "write sqlite:////ABSOLUTE/PATH"),
        ("sqlite:////nonexistent/x.db", "/nonexistent is no directory"),
        (f"sqlite:///{__file__}", "it is no SQLite database"),
        (f"sqlite:////tmp/{'x' * 300}/y.db", "File name too long: name another file"),
    ],
)
def test_a_database_that_is_none_is_named(config: Config, url: str, text: str) -> None:
    finding = webchecks.database(load(config.path, {"web.database_url": url}))
    assert finding.level == "fault"
    assert text in finding.text
    assert "secret" not in finding.text


def test_the_first_user_and_its_file_are_looked_at(config: Config, tmp_path: Path) -> None:
    assert levels(webchecks.everything(config, None))["database"] == "ok"
    assert not config.statedir.exists()
    (finding,) = webchecks.admin(load(config.path, {"web.admin_user": "../x"}))
    assert "admin_user = ../x: use letters" in finding.text
    for place, text in ((tmp_path, "it is a directory"), (config.path / "x", "is no directory")):
        (finding,) = webchecks.cli_config(load(config.path, {"web.cli_config": str(place)}))
        assert text in finding.text


def test_a_passphrase_file_that_is_none_is_not_waited_for(config: Config, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    secret = {"signing.backend": "gpg", "signing.passphrase_file": str(tmp_path / "pipe")}
    (finding,) = checks.signing(load(config.path, secret))
    assert "it is no file" in finding.text


def test_a_frontend_that_takes_our_password(config: Config, frontend: RecordedFrontend) -> None:
    assert checks.frontend(real(config, frontend.url)).level == "ok"


def test_a_frontend_that_refuses_our_password(config: Config, frontend: RecordedFrontend) -> None:
    finding = checks.frontend(real(config, frontend.url, "wrong"))
    assert finding.level == "fault"
    assert "correct frontend_auth" in finding.text
    assert "wrong" not in finding.text


def test_a_frontend_that_is_broken_or_away(config: Config, frontend: RecordedFrontend) -> None:
    frontend.faults.append(Broken("pending-jobs", status(500)))
    assert "answered 500" in checks.frontend(real(config, frontend.url)).text
    finding = checks.frontend(real(config, f"http://127.0.0.1:{free_port()}"))
    assert finding.level == "fault"


def test_metadata_that_nothing_here_can_compress_is_a_fault(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checks.compression(config).level == "ok"
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    finding = checks.compression(load(config.path, {"repository.compression": "zstd"}))
    assert finding.level == "fault"
    assert "compression = zstd needs Python 3.14, or: " in finding.text
    assert finding.text.endswith(" -m pip install backports.zstd")


def test_all_faults_at_once(
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(process, "CLEAN_ENV", {"PATH": str(tmp_path / "bin")})
    with config.path.open("a") as file:
        file.write("prot = 1\n[builder]\ntimeout = 0\n")
    config.destdir.touch()
    with socket.create_server(("127.0.0.1", config.web_port)):
        code = main(["check", "--json", "-c", str(config.path)])
    assert code == 2
    found = json.loads(capsys.readouterr().out)
    faults = [f"{f['name']}: {f['text']}" for f in found if f["level"] == "fault"]
    wanted = ("`prot`", "timeout = 0", "destdir", "createrepo_c", "bwrap", "cannot listen")
    for text in wanted:
        assert [fault for fault in faults if text in fault], text
    assert len(faults) == len(wanted)


def test_a_good_configuration_on_a_bare_machine_is_1(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "CLEAN_ENV", {"PATH": "/nonexistent"})
    assert main(["check", "-c", str(config.path)]) == 1
    assert "FAULT" in capsys.readouterr().err


def test_a_configuration_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-c", str(tmp_path / "none.conf")]) == 2
    assert "does not exist: create it from" in capsys.readouterr().err
