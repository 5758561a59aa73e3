"""`[builder] type`: a registered name, or a class of somebody else's package."""

import sys
from pathlib import Path

import pytest

from backend import cli
from backend.builders.plugin import find_class, load_builder, try_out
from backend.builders.rpmbuild import RpmbuildBuilder
from backend.config import Config, load
from backend.daemons.tidy import sweep_workdirs
from backend.exceptions import ConfigError, ToolError
from tests.ports import free_port

PLUGIN = """\
from backend.chroot import Chroot
class Good:
    def __init__(self, config): self.config = config
    def preflight(self): pass
    def chroots(self): return (Chroot.parse("own-1-x86_64"),)
    def inspect(self, srpm, workdir, slot): ...
    def build(self, request, monitor): ...
    def cleanup(self, workdir, slot): ...
class NoLicence(Good):
    def __init__(self, config): raise RuntimeError("no licence")
class NoTools(Good):
    def preflight(self): raise ValueError("no tools")
class Untidy(Good):
    def cleanup(self, workdir, slot): raise ValueError("no broom")
class Half:
    def preflight(self): pass
    def build(self, request, monitor): ...
value = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "ownpkg").mkdir()
    (tmp_path / "ownpkg" / "__init__.py").touch()
    (tmp_path / "ownpkg" / "builder.py").write_text(PLUGIN)
    (tmp_path / "ownpkg" / "torn.py").write_text("def")
    (tmp_path / "ownpkg" / "needy.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("ownpkg")]:
        monkeypatch.delitem(sys.modules, name)
    return "ownpkg"


def config(tmp_path: Path, name: str) -> Config:
    path = tmp_path / "copr-be.conf"
    path.write_text(f"[builder]\ntype = {name}\n")
    return load(path)


def own(tmp_path: Path, name: str) -> str:
    """With directories and a port that this user may have."""
    keys = ("destdir", "statedir", "rundir", "log_dir")
    places = "".join(f"{key} = {tmp_path / key}\n" for key in keys)
    return f"{name}\n[backend]\n{places}[web]\nport = {free_port()}"


def test_a_registered_name(tmp_path: Path) -> None:
    assert isinstance(load_builder(config(tmp_path, "rpmbuild")), RpmbuildBuilder)


def test_a_class_of_another_package(tmp_path: Path, package: str) -> None:
    options = config(tmp_path, f"{package}.builder:Good")
    builder = load_builder(options)
    assert type(builder).__name__ == "Good"
    assert builder.config is options  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.at_all:Builder", "cannot import nowhere.at_all: No module named 'nowhere'"),
        ("ownpkg.torn:Builder", "cannot import ownpkg.torn: "),
        ("ownpkg.needy:Builder", "No module named 'nowhere_to_be_found': install it where"),
        ("ownpkg.builder:Best", "module ownpkg.builder has no class 'Best'"),
        ("ownpkg.builder:value", "module ownpkg.builder has no class 'value'"),
        ("ownpkg.builder:Half", "it lacks chroots, inspect, cleanup: see Builder in"),
    ],
)
def test_a_wrong_class_is_named_with_the_remedy(package: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_class(name)
    text = str(caught.value)
    assert text.startswith(f"[builder] type = {name}: ")
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize("name", ["rpmbuil", "", "a.b", "a:b:c", ":B", "a.b:", "a b:C", "a-b:C"])
def test_what_is_no_name_at_all_is_refused_when_the_file_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ConfigError, match=r"must be one of rpmbuild, mock or package\.module:Class"
    ):
        config(tmp_path, name)


def test_check_names_the_class_and_what_it_builds(
    tmp_path: Path,
    package: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backend.daemons.prepare.find_all", lambda tools: dict.fromkeys(tools, ""))
    good = config(tmp_path, own(tmp_path, f"{package}.builder:Good")).path
    assert cli.main(["check", "-c", str(good)]) == 0
    assert (
        "builder ownpkg.builder:Good: it works here; builds own-1-x86_64" in capsys.readouterr().out
    )
    bad = config(tmp_path, own(tmp_path, f"{package}.builder:Half")).path
    assert cli.main(["check", "-c", str(bad)]) == 2
    assert "it is no builder, it lacks" in capsys.readouterr().err


def test_what_a_foreign_class_raises_is_one_clear_line(tmp_path: Path, package: str) -> None:
    with pytest.raises(ToolError, match="NoLicence: making it failed: RuntimeError: no licence"):
        load_builder(config(tmp_path, f"{package}.builder:NoLicence"))
    options = config(tmp_path, f"{package}.builder:NoTools")
    with pytest.raises(ToolError, match="NoTools: its preflight failed: ValueError: no tools"):
        try_out(options, load_builder(options))


def test_a_foreign_cleanup_does_not_keep_the_master_from_its_end(
    tmp_path: Path, package: str
) -> None:
    options = config(tmp_path, f"{package}.builder:Untidy\n[backend]\nstatedir = {tmp_path}")
    (tmp_path / "work" / "0" / "left").mkdir(parents=True)
    (trouble,) = sweep_workdirs(options, load_builder(options))
    assert trouble.endswith("could not be removed: no broom")
