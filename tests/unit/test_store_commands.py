"""`copr_be.py` user, backup and restore, beside a frontend that serves."""

import configparser
import json
import time
from pathlib import Path

import pytest

from backend import cli
from tests.unit.test_web_lab import CHROOTS, Lab, running_lab

FEDORA, DEBIAN = CHROOTS


def run(lab: Lab, *words: str, code: int = 0) -> None:
    places = [
        f"backend.{key}={getattr(lab.config, key)}" for key in ("destdir", "statedir", "rundir")
    ]
    options = [word for place in places for word in ("-o", place)]
    assert cli.main(["-c", str(lab.config.path), *options, *words]) == code


def token(text: str) -> tuple[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser["copr-cli"]["login"], parser["copr-cli"]["token"]


def test_users_come_get_tokens_and_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_lab(tmp_path) as lab:

        def status(auth: tuple[str, str]) -> int:
            return lab.client.get("/api_3/auth-check", auth=auth).status_code

        run(lab, "user", "add", "jdoe")
        first = token(capsys.readouterr().out)
        assert status(first) == 200
        run(lab, "user", "add", "jdoe", code=1)
        assert "there is a user jdoe already" in capsys.readouterr().err
        run(lab, "user", "token", "jdoe", "--days", "30")  # beside the serving frontend
        second = token(capsys.readouterr().out)
        assert (status(first), status(second)) == (401, 200)
        run(lab, "user", "list")
        listed = capsys.readouterr().out
        assert "admin\ttoken expires: never" in listed
        assert "jdoe\ttoken expires: 20" in listed
        lab.client.post("/api_3/project/add/jdoe", json={"name": "x"}, auth=second)
        run(lab, "user", "remove", "jdoe", code=1)
        assert "still owns jdoe/x" in capsys.readouterr().err
        run(lab, "user", "remove", "jdoe", "--keep-projects")
        assert status(second) == 401
        run(lab, "user", "token", "jdoe", code=1)
        run(lab, "user", "add", "../x", code=1)
        assert "cannot be the name of a user" in capsys.readouterr().err


def test_a_token_expires(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_lab(tmp_path) as lab:
        run(lab, "user", "add", "jdoe", "--days", "1")
        auth = token(capsys.readouterr().out)
        later = time.time() + 2 * 24 * 3600
        assert lab.client.get("/api_3/auth-check", auth=auth).status_code == 200
        monkeypatch.setattr("backend.web.request.time.time", lambda: later)
        assert lab.client.get("/api_3/auth-check", auth=auth).status_code == 401


def test_a_backup_brings_everything_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "backup"
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with running_lab(tmp_path / "one") as lab:
        lab.project(chroots=[FEDORA], description="wörds")
        lab.upload()
        lab.submit()
        lab.source_done(2)
        lab.submit()
        lab.report(3, status=0)
        lab.api("DELETE", "/build/delete/3")
        run(lab, "backup", str(file))
        assert file.stat().st_mode & 0o777 == 0o600
        before = lab.client.get("/api_3/build/list?ownername=admin&projectname=hello").json()
        tasks = lab.tasks()
        task = lab.back("get-srpm-build-task/1")["source_json"]
    with running_lab(tmp_path / "two") as lab:
        run(lab, "restore", str(file))
        assert (
            lab.client.get("/api_3/build/list?ownername=admin&projectname=hello").json() == before
        )
        assert lab.tasks() == tasks
        url = json.loads(task)["url"]
        assert lab.client.get(url.removeprefix(lab.config.frontend_url)).status_code == 200
        run(lab, "restore", str(file), code=1)
        assert "holds projects already" in capsys.readouterr().err
        run(lab, "restore", str(file), "--force")
        run(lab, "user", "token", "admin", "--days", "0")
        lab.auth = token(capsys.readouterr().out.split("\n", 1)[1])
        assert lab.submit() == 4  # the number of the deleted build is not used again


def test_broken_archives_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    with running_lab(tmp_path / "one") as lab:
        lab.project()
        run(lab, "backup", str(tmp_path / "good"))
        cut = tmp_path / "cut"
        cut.write_bytes((tmp_path / "good").read_bytes()[:-200])
        (tmp_path / "noise").write_bytes(b"noise")
        for name in ("cut", "noise", "missing"):
            run(lab, "restore", "--force", str(tmp_path / name), code=1)
            assert "copr_be.py: " in capsys.readouterr().err
        assert lab.client.get("/api_3/project?ownername=admin&projectname=hello").status_code == 200
