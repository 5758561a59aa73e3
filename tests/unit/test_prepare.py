"""What is looked over before the first process starts."""

import os
from pathlib import Path

import pytest

from backend import process
from backend.cli import main
from backend.config import Config, load
from backend.daemons.backend import CoprBackend
from backend.daemons.prepare import check_tools
from backend.exceptions import ToolError
from tests.ports import free_port


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A configuration on a machine that has only what is put into `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(process, "CLEAN_ENV", {"PATH": str(tmp_path / "bin")})
    path = tmp_path / "copr-be.conf"
    keys = ("destdir", "statedir", "rundir", "log_dir")
    places = "".join(f"{key} = {tmp_path / key}\n" for key in keys)
    path.write_text(f"[backend]\n{places}[web]\nport = {free_port()}\n")
    return load(path)


def install(tmp_path: Path, *tools: str) -> None:
    for tool in tools:
        (tmp_path / "bin" / tool).touch(mode=0o755)


@pytest.mark.parametrize("missing", ["createrepo_c", "redis-server"])
def test_what_every_builder_needs_is_checked(config: Config, tmp_path: Path, missing: str) -> None:
    tools = {"createrepo_c", "redis-server"}
    install(tmp_path, *(tools - {missing}))
    with pytest.raises(ToolError, match=f"{missing} is not installed: apt-get install"):
        check_tools(config)
    install(tmp_path, missing)
    assert set(check_tools(config)) == tools


def test_a_redis_elsewhere_needs_no_redis_server(config: Config, tmp_path: Path) -> None:
    install(tmp_path, "createrepo_c")
    other = load(config.path, {"backend.redis_url": "redis://127.0.0.1:6379/0"})
    assert set(check_tools(other)) == {"createrepo_c"}


def test_no_daemon_starts_without_createrepo_c(
    config: Config, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ToolError, match="createrepo_c, redis-server are not installed"):
        CoprBackend(config.path, {}).run()
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        assert main(["-c", str(config.path), "-d"]) == 1
    assert "createrepo_c, redis-server are not installed" in capfd.readouterr().err


def test_dist_git_needs_git(config: Config, tmp_path: Path) -> None:
    install(tmp_path, "createrepo_c", "redis-server")
    urls = {"frontend_base_url": "http://copr.example.org", "results_baseurl": "http://x/results"}
    real = load(config.path, {f"backend.{key}": url for key, url in urls.items()})
    with pytest.raises(ToolError, match="git is not installed"):
        check_tools(real)
    install(tmp_path, "git")
    assert "git" in check_tools(real)
