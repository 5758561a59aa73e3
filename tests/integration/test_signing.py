"""Keys and signatures without a daemon: real gpg, rpmsign and createrepo_c."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backend import openpgp, sign
from backend.action import Action
from backend.actions import perform
from backend.actions.yard import Yard
from backend.commands import keys
from backend.config import Config
from backend.constants import ActionType
from backend.repository import policy, publish
from backend.rpmfile import is_signed, signing_keys
from tests.conftest import wait_until
from tests.integration.repositories import add, build_packages, listed
from tests.integration.signatures import (
    CHROOT,
    checksums,
    consistent,
    gpg,
    key_of,
    published,
    signer,
)
from tests.integration.signing import checks, config

pytestmark = [pytest.mark.gpg, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


def left_in(repo: Path) -> list[str]:
    """Private names, but for the repository's own directory of states."""
    return [path.name for path in repo.glob(".*") if path.name != ".repo"]


@pytest.mark.parametrize("kind", ["ed25519", "rsa2048"])
def test_what_is_signed_once_stays_as_it_is(
    tmp_path: Path, packages: dict[str, list[Path]], kind: str
) -> None:
    conf = config(tmp_path, key_type=kind)
    repo = conf.destdir / "jdoe/p" / CHROOT
    result = add(repo, "00000001-hello", packages["hello"])
    rpms = sorted(result.glob("*.rpm"))
    shared = tmp_path / "shared.rpm"
    os.link(rpms[0], shared)
    publish(repo, policy=policy(conf, repo))
    assert not is_signed(shared)
    before = [(path.read_bytes(), path.stat().st_ino) for path in rpms]
    publish(repo, policy=policy(conf, repo))
    assert [(path.read_bytes(), path.stat().st_ino) for path in rpms] == before
    assert consistent(repo)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in rpms)
    for path in rpms:
        assert checks(path, conf.destdir / "jdoe/p/pubkey.gpg", tmp_path / "db").returncode == 0
    key = gpg(conf).key(signer(conf).project)
    assert key.type == kind
    assert key.uid == "jdoe_p <jdoe#p@copr.127.0.0.1>"
    assert not left_in(repo)
    assert not list(conf.rundir.iterdir())


def test_rotation_keeps_readers_and_resigning_changes_everything(
    tmp_path: Path, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    conf = config(tmp_path)
    repo = published(conf, packages["hello"])
    pubkey = conf.destdir / "jdoe/p/pubkey.gpg"
    old, before = key_of(repo), checksums(repo)
    shared = tmp_path / "shared.rpm"
    os.link(next(repo.glob("*/*.src.rpm")), shared)
    assert keys.rotate(conf, "jdoe/p") == 0
    new = gpg(conf).key(signer(conf).project).id
    assert openpgp.key_ids(openpgp.dearmor(pubkey.read_bytes())) == [new, old]
    add(repo, "00000002-world", packages["world"])
    publish(repo, policy=policy(conf, repo))  # the next build: old packages are left alone
    assert signing_keys(next(repo.glob("*-hello/*.src.rpm"))) == {old}
    assert signing_keys(next(repo.glob("*-world/*.src.rpm"))) == {new}
    assert keys.resign(conf, "jdoe/p") == 0
    assert key_of(repo) == new
    assert consistent(repo)
    assert not checksums(repo) & before
    assert len(listed(repo)) == 4
    assert signing_keys(shared) == {old}
    assert openpgp.key_ids(openpgp.dearmor(pubkey.read_bytes())) == [new, old]
    for path in repo.glob("*/*.rpm"):
        assert checks(path, pubkey, tmp_path / "db").returncode == 0
    capsys.readouterr()
    assert keys.show(conf, None) == 0
    said = capsys.readouterr().out
    assert said.count("jdoe/p\t") == 2
    assert "in pubkey.gpg until" in said
    assert keys.resign(conf, None) == 0
    assert "0 packages signed" in capsys.readouterr().out
    gone = config(tmp_path, keep_days="0")
    keys.resign(gone, "jdoe/p")
    assert openpgp.key_ids(openpgp.dearmor(pubkey.read_bytes())) == [new]
    assert [key.id for key in gpg(gone).store.keys(signer(gone).project)] == [new]


def test_resigning_lists_no_more_and_no_less_in_devel_mode(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    conf = config(tmp_path)
    repo = published(conf, packages["hello"])
    add(repo, "00000002-world", packages["world"])
    url = f"{conf.results_url}/jdoe/p/{CHROOT}"
    publish(repo, devel_url=url, policy=policy(conf, repo))
    before = listed(repo), listed(repo / "devel")
    assert (len(before[0]), len(before[1])) == (2, 4)
    keys.rotate(conf, "jdoe/p")
    keys.resign(conf, "jdoe/p")
    assert (listed(repo), listed(repo / "devel")) == before
    new = key_of(repo)
    text = (repo / "devel/repodata/repomd.xml.asc").read_bytes()
    assert openpgp.signers(openpgp.dearmor(text)) == {new}
    assert checksums(repo / "devel") >= checksums(repo)
    assert consistent(repo)


COMMAND = [sys.executable, "-m", "backend.cli", "key"]


@pytest.mark.parametrize("moment", [".resign-*/*/*.rpm", ".resigning"])
def test_resigning_goes_on_after_a_kill(
    tmp_path: Path, packages: dict[str, list[Path]], moment: str
) -> None:
    conf = config(tmp_path)
    repo = published(conf, packages["hello"])
    for number in range(2, 7):
        add(repo, f"{number:08d}-hello", packages["hello"])
    publish(repo, policy=policy(conf, repo))
    keys.rotate(conf, "jdoe/p")
    resigning = [*COMMAND, "resign", "jdoe/p", "-c", str(conf.path)]
    with subprocess.Popen(resigning, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: process.poll() is not None or list(repo.glob(moment)), 60)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not _programs_of(conf), 30, "all its programs are gone")
    done = subprocess.run(resigning, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert key_of(repo) == gpg(conf).key(signer(conf).project).id
    assert consistent(repo)
    assert not left_in(repo)
    assert not list(conf.rundir.glob("sign-*"))


def _programs_of(conf: Config) -> list[str]:
    """Command lines of running programs that sign here."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(conf.rundir).encode() in text and b"gpg" in text:
            found.append(text.decode("utf-8", "replace"))
    return found


def test_a_fork_is_signed_with_its_own_key(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    conf = config(tmp_path)
    repo = published(conf, packages["hello"])
    yard = Yard(
        destdir=conf.destdir, results_url=conf.results_url, frontend_url="", say=lambda _: None,
        policy=lambda repo: policy(conf, repo),
        signer=lambda owner, name: sign.signer(conf, owner, name),
    )  # fmt: skip
    data = {"user": "alice", "copr": "copy", "storage": 0,
            "builds_map": {CHROOT: {"00000001-hello": "00000007-hello"}}}  # fmt: skip
    fork = Action(
        id=1, type=ActionType.FORK, object_type="copr", data=data,
        old_value="jdoe/p", new_value="alice/copy",
    )  # fmt: skip
    perform(fork, yard)
    mine, copy = key_of(repo), conf.destdir / "alice/copy" / CHROOT
    assert key_of(copy) != mine
    assert key_of(repo) == mine
    assert consistent(copy)
    (rpm,) = copy.glob("*/*.noarch.rpm")
    assert checks(rpm, conf.destdir / "alice/copy/pubkey.gpg", tmp_path / "db").returncode == 0
    assert checks(rpm, conf.destdir / "jdoe/p/pubkey.gpg", tmp_path / "db").returncode != 0
