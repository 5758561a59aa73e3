"""The user that the daemon becomes; really, in a forked process."""

import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from backend.commands import checks
from backend.commands.account import Account
from backend.config import Config, load
from backend.daemons import prepare
from backend.exceptions import ConfigError
from backend.identity import Identity

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def config(tmp_path: Path, **options: str) -> Config:
    path = tmp_path / "copr-be.conf"
    path.write_text("[backend]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()))
    return load(path)


def in_child(work: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def test_nothing_configured_changes_nothing(tmp_path: Path) -> None:
    assert Identity.of(config(tmp_path)) is None


@pytest.mark.parametrize("option", ["user", "group"])
def test_an_unknown_name_comes_with_a_remedy(tmp_path: Path, option: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no such {option}: {option}add --system nix"):
        Identity.of(config(tmp_path, **{option: "nix"}))


@root
def test_user_and_group_are_not_mixed_up(tmp_path: Path) -> None:
    """`games` and `mail` have other numbers as users than as groups on Debian and Fedora."""
    import grp

    found = Identity.of(config(tmp_path, user="games", group="mail"))
    assert found is not None
    assert (found.uid, found.gid) == (pwd.getpwnam("games").pw_uid, grp.getgrnam("mail").gr_gid)
    assert in_child(lambda: _becomes(found))
    alone = Identity.of(config(tmp_path, user="games"))
    assert alone is not None
    assert alone.gid == pwd.getpwnam("games").pw_gid


def _becomes(identity: Identity) -> bool:
    identity.assume()
    ids = (os.getresuid(), os.getresgid())
    groups = set(os.getgroups())
    return ids == ((identity.uid,) * 3, (identity.gid,) * 3) and 0 not in groups


@root
def test_numbers_will_do_and_directories_are_handed_over(tmp_path: Path) -> None:
    entry = pwd.getpwnam("nobody")
    found = Identity.of(config(tmp_path, user=str(entry.pw_uid)))
    assert found is not None
    assert found.name == "nobody"
    found.give(tmp_path)
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_gid) == (entry.pw_uid, entry.pw_gid)


@root
def test_an_ordinary_user_cannot_become_another(tmp_path: Path) -> None:
    opts = config(tmp_path, user="root")
    me = pwd.getpwnam("nobody")

    def refused() -> bool:
        os.setgid(me.pw_gid)
        os.setuid(me.pw_uid)
        try:
            Identity.of(opts)
        except ConfigError as error:
            return "only root can" in str(error)
        return False

    assert in_child(refused)


@root
def test_a_user_who_may_not_read_the_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opts, own = config(tmp_path, user="nobody"), tmp_path / "root's own"
    own.mkdir(mode=0o700)
    found = Identity.of(opts)
    assert found is not None
    for places, refused in (((Path("/usr"), own), True), ((Path("/usr"),), False)):
        for module in (prepare, checks):
            monkeypatch.setattr(module, "program_places", partial(tuple, places))
        finding = checks.user(opts, Account.of(found))
        assert (finding.level == "fault") == refused
        assert (
            f"nobody: may not read the program in {own}: make install" in finding.text
        ) == refused
        assert in_child(partial(_agrees, opts, found, refused))


def _agrees(opts: Config, identity: Identity, refused: bool) -> bool:
    identity.assume()
    try:
        prepare.check_program(opts)
    except ConfigError as error:
        return refused and "may not read the program" in str(error)
    return not refused
