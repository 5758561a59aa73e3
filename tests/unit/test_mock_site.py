"""Which chroots a machine offers, and who mock runs as."""

import grp
import os
import pwd
from pathlib import Path

import pytest

from backend import config
from backend.builders import mocksite
from backend.builders.mockclean import Traces
from backend.builders.mockrun import place
from backend.chroot import Chroot
from backend.exceptions import InfrastructureError, ToolError

GROUP = grp.struct_group(("mock", "x", 7777, ["ghost", "anna"]))
ANNA = pwd.struct_passwd(("anna", "x", 4242, 4242, "", "/home/anna", "/bin/sh"))


def settings(tmp_path: Path, *lines: str) -> config.Config:
    path = tmp_path / "copr-be.conf"
    builder = ["type = mock", f"mock_configs = {tmp_path}/mock", *lines]
    text = f"[backend]\nstatedir = {tmp_path}/state\n[builder]\n" + "\n".join(builder) + "\n"
    path.write_text(text)
    (tmp_path / "mock").mkdir(exist_ok=True)
    return config.load(path)


@pytest.fixture
def accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(name: str) -> pwd.struct_passwd:
        return {"anna": ANNA}[name]

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(grp, "getgrnam", lambda name: GROUP)
    monkeypatch.setattr(pwd, "getpwnam", known)
    monkeypatch.setattr(pwd, "getpwall", lambda: [ANNA])
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 7777])


@pytest.mark.usefixtures("accounts")
def test_chroots_are_the_installed_configurations_that_run_here(tmp_path: Path) -> None:
    opts = settings(tmp_path)
    names = (
        "site-defaults fedora-41-x86_64 fedora-41-i686 fedora-41-aarch64 default nonsense"
        " alma+epel-10-x86_64_v2 centos-stream-9-x86_64 chroot-aliases"
    )
    for name in names.split():
        (tmp_path / "mock" / f"{name}.cfg").touch()
    (tmp_path / "mock" / "fedora-40-x86_64.tpl").touch()
    assert [str(chroot) for chroot in mocksite.chroots(opts, "x86_64")] == [
        "alma+epel-10-x86_64_v2",
        "centos-stream-9-x86_64",
        "fedora-41-i686",
        "fedora-41-x86_64",
    ]
    assert [str(chroot) for chroot in mocksite.chroots(opts, "aarch64")] == ["fedora-41-aarch64"]


@pytest.mark.usefixtures("accounts")
def test_the_configuration_names_those_that_are_offered(tmp_path: Path) -> None:
    opts = settings(tmp_path, "mock_chroots = fedora-4[12]-* epel-9-x86_64")
    for name in ("fedora-40-x86_64", "fedora-41-x86_64", "fedora-42-x86_64", "epel-9-x86_64"):
        (tmp_path / "mock" / f"{name}.cfg").touch()
    assert [str(chroot) for chroot in mocksite.chroots(opts, "x86_64")] == [
        "epel-9-x86_64",
        "fedora-41-x86_64",
        "fedora-42-x86_64",
    ]


@pytest.mark.usefixtures("accounts")
def test_the_users_own_configurations_go_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opts = settings(tmp_path)
    anna = pwd.struct_passwd(("anna", "x", 4242, 4242, "", str(tmp_path / "anna"), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwnam", {"anna": anna}.__getitem__)
    own = tmp_path / "anna" / ".config" / "mock" / "fedora-41-x86_64.cfg"
    own.parent.mkdir(parents=True)
    (tmp_path / "mock" / own.name).touch()
    chroot = mocksite.chroots(opts, "x86_64")[0]
    assert mocksite.configuration(opts, chroot) == tmp_path / "mock" / own.name
    own.touch()
    assert mocksite.configuration(opts, chroot) == own
    gone = Chroot.parse("fedora-99-x86_64")
    with pytest.raises(InfrastructureError, match=r"cannot be built here any more"):
        mocksite.configuration(opts, gone)


@pytest.mark.usefixtures("accounts")
def test_root_lets_the_groups_first_member_run_mock(tmp_path: Path) -> None:
    assert mocksite.user(settings(tmp_path)).name == "anna"


@pytest.mark.usefixtures("accounts")
def test_a_user_outside_the_group_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid])
    with pytest.raises(ToolError, match="usermod -aG mock anna"):
        mocksite.user(settings(tmp_path, "mock_user = anna"))
    with pytest.raises(ToolError, match="no such user: useradd"):
        mocksite.user(settings(tmp_path, "mock_user = nobody-such"))


@pytest.mark.usefixtures("accounts")
def test_a_group_without_members_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group(("mock", "x", 7777, [])))
    with pytest.raises(ToolError, match="useradd --system"):
        mocksite.user(settings(tmp_path))


def test_without_mock_there_is_no_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> grp.struct_group:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", missing)
    with pytest.raises(ToolError, match="no group mock: install mock"):
        mocksite.user(settings(tmp_path))
    assert mocksite.chroots(settings(tmp_path), "x86_64") == ()


def test_a_private_mount_covers_what_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full" / "x").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    places = (str(tmp_path / "none"), str(tmp_path / "full"), str(tmp_path / "empty"))
    monkeypatch.setattr("backend.builders.mockrun.PLACES", places)
    assert place() == tmp_path / "empty"
    monkeypatch.setattr("backend.builders.mockrun.PLACES", places[:2])
    assert place() == tmp_path / "full"
    monkeypatch.setattr("backend.builders.mockrun.PLACES", places[:1])
    with pytest.raises(ToolError, match="mkdir /mnt"):
        place()


def test_traces_survive_in_a_note(tmp_path: Path) -> None:
    include = tmp_path / "f.cfg"
    traces = Traces(root="copr-f", extension="0-ab", basedir=str(tmp_path), include=str(include))
    assert Traces.read(tmp_path) is None
    traces.write(tmp_path)
    assert Traces.read(tmp_path) == traces
    assert not traces.left
    (tmp_path / "copr-f-bootstrap-0-ab").mkdir()
    assert traces.left == [tmp_path / "copr-f-bootstrap-0-ab"]
    assert "include" not in traces.config()  # the distribution's configuration is gone
    include.touch()
    assert f"include({str(include)!r})" in traces.config()
