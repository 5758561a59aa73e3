"""Keys of projects with real gpg: passphrases, travels, rotation, successors."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from backend import openpgp, sign
from backend.action import Action
from backend.actions import perform
from backend.actions.yard import Yard
from backend.commands import keys
from backend.config import Config
from backend.constants import ActionType
from backend.exceptions import CoprBackendError, InfrastructureError
from backend.repository import policy, publish
from backend.signing import session
from tests.integration.repositories import add, build_packages, listed
from tests.integration.signatures import CHROOT, consistent, gpg, key_of, published, signer
from tests.integration.signing import config

pytestmark = [pytest.mark.gpg, pytest.mark.rpmbuild, pytest.mark.createrepo]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


def test_who_needs_the_key_at_once_gets_the_same(tmp_path: Path) -> None:
    conf = config(tmp_path)
    project = signer(conf).project
    pids = []
    for _ in range(4):
        pid = os.fork()
        if not pid:
            os._exit(10 + gpg(conf).ensure(project))
        pids.append(pid)
    made = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert sorted(made) == [10, 10, 10, 11]
    assert len(gpg(conf).store.keys(project)) == 1


def test_side_directories_have_the_key_of_their_project(tmp_path: Path) -> None:
    conf = config(tmp_path)
    signer(conf, "@group", "p:pr:7").prepare()
    keys = [conf.destdir / "@group" / name / "pubkey.gpg" for name in ("p", "p:pr:7")]
    assert keys[0].read_bytes() == keys[1].read_bytes()
    assert [str(project) for project in gpg(conf).store.projects()] == ["@group/p"]


def test_homes_of_the_dead_are_swept(tmp_path: Path) -> None:
    conf = config(tmp_path)
    backend, project = gpg(conf), signer(conf).project
    backend.ensure(project)
    where = backend.store.directory(project, backend.key(project))
    pid = os.fork()
    if not pid:
        session.Session(conf.rundir, where).__enter__()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    homes = session.place(conf.rundir)
    (left,) = homes.glob(f"sign-{pid}-*")
    assert (left / session.SECRETS).is_symlink()  # a link, not the secret
    with session.Session(conf.rundir, where) as mine:
        session.sweep(conf.rundir)
        assert mine.home.is_dir()
        assert not left.exists()
    assert not mine.home.exists()


def test_a_rundir_with_a_long_path_will_do(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    conf = config(long)
    homes = session.place(conf.rundir)
    assert homes.stat().st_mode & 0o777 == 0o700
    signer(conf).prepare()
    assert not list(homes.glob(f"sign-{os.getpid()}-*"))


def test_a_passphrase_encrypts_keys_and_its_absence_is_the_farms_fault(
    tmp_path: Path, packages: dict[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n")
    conf = config(tmp_path, passphrase_file=str(secret))
    repo = published(conf, packages["hello"])
    # Not before: once in a long while gpg-agent says "Corrupted protection" of its own new key.
    monkeypatch.setattr(sign, "_PAUSES", ())
    assert consistent(repo)
    assert key_of(repo)
    (file,) = (conf.statedir / "keys").rglob("*.key")
    assert b"protected-private-key" in file.read_bytes()
    secret.write_text("wrong\n")
    add(repo, "00000002-world", packages["world"])
    with pytest.raises(InfrastructureError, match=r"passphrase|No secret key|Bad"):
        publish(repo, policy=policy(conf, repo))
    assert len(listed(repo)) == 2
    secret.unlink()
    with pytest.raises(InfrastructureError, match="passphrase"):
        publish(repo, policy=policy(conf, repo))


def test_a_key_travels_encrypted(
    tmp_path: Path, packages: dict[str, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    conf, other = config(here), config(there)
    repo = published(conf, packages["hello"])
    secret, file = tmp_path / "passphrase", tmp_path / "key.asc"
    secret.write_text("correct horse\n")

    def run(conf: Config, what: str, name: str | None = "jdoe/p", **more: Path | None) -> int:
        given = {"file": file, "recipient": None, "passphrase": None} | more
        return keys.run(conf, what, name, every=False, **given)

    with pytest.raises(CoprBackendError, match="never leaves in the clear"):
        run(conf, "export")
    assert run(conf, "export", passphrase=secret) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN PGP MESSAGE" in file.read_bytes()
    assert b"PRIVATE" not in file.read_bytes()
    with pytest.raises(CoprBackendError, match="exists"):
        run(conf, "export", passphrase=secret)
    secret.write_text("incorrect horse\n")
    with pytest.raises(InfrastructureError):
        run(other, "import", passphrase=secret)
    assert gpg(other).store.projects() == []
    secret.write_text("correct horse\n")
    assert run(other, "import", passphrase=secret) == 0
    key = gpg(other).key(signer(other).project)
    assert key.id == key_of(repo)
    assert key == gpg(conf).key(signer(conf).project)
    assert published(other, packages["hello"]).is_dir()
    assert key_of(other.destdir / "jdoe/p" / CHROOT) == key.id


def test_an_export_for_a_recipient_is_only_for_him(
    tmp_path: Path, packages: dict[str, list[Path]]
) -> None:
    conf = config(tmp_path)
    published(conf, packages["hello"])
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg_there = ["gpg", "--batch", "--homedir", str(home)]
    new = [*gpg_there, "--passphrase", "", "--quick-gen-key", "admin", "future-default"]
    subprocess.run(new, check=True, capture_output=True)
    subprocess.run(
        [*gpg_there, "--armor", "--output", str(tmp_path / "admin.asc"), "--export"], check=True
    )
    file = tmp_path / "key.asc"
    keys.run(
        conf, "export", "jdoe/p", every=False, file=file,
        recipient=tmp_path / "admin.asc", passphrase=None,
    )  # fmt: skip
    opened = subprocess.run(
        [*gpg_there, "--decrypt", str(file)], check=True, capture_output=True
    ).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    plain = tmp_path / "plain"
    plain.write_bytes(opened)
    there = tmp_path / "there"
    there.mkdir()
    other = config(there)
    keys.run(
        other, "import", "jdoe/p", every=False, file=plain, recipient=None, passphrase=None
    )  # fmt: skip
    project = signer(conf).project
    assert gpg(other).key(project) == gpg(conf).key(project)


def test_an_expiring_key_gets_a_successor(tmp_path: Path, packages: dict[str, list[Path]]) -> None:
    conf = config(tmp_path, key_days="1")  # expires within a day: not to be relied on
    first = gpg(conf)._make
    project = signer(conf).project
    with gpg(conf).store.locked(project):
        first(project)
    old = gpg(conf).store.current(project)
    assert old
    assert old.expires - old.created == 86400
    later = config(tmp_path, key_days="30")
    repo = published(later, packages["hello"])
    assert key_of(repo) != old.id
    assert len(gpg(later).store.keys(project)) == 2


def test_the_action_of_a_frontend_makes_a_key(tmp_path: Path) -> None:
    conf = config(tmp_path)
    yard = Yard(
        destdir=conf.destdir, results_url="", frontend_url="", say=lambda _: None,
        signer=lambda owner, name: sign.signer(conf, owner, name),
    )  # fmt: skip
    data = {"ownername": "jdoe", "projectname": "p", "appstream": False}
    action = Action(id=1, type=ActionType.GEN_GPG_KEY, object_type="copr", data=data)
    perform(action, yard)
    perform(action, yard)
    text = (conf.destdir / "jdoe/p/pubkey.gpg").read_bytes()
    assert len(openpgp.key_ids(openpgp.dearmor(text))) == 1
