"""Keys and signatures without a daemon: real gpg, rpmsign and createrepo_c."""

import hashlib
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
from backend.exceptions import CoprBackendError, InfrastructureError
from backend.repository import policy, publish
from backend.rpmfile import is_signed, signing_keys
from backend.sign import ProjectSigner
from backend.signing import session
from backend.signing.gpg import GpgBackend
from tests.conftest import wait_until
from tests.integration.repositories import add, build_packages, listed, primary
from tests.integration.signing import checks, config

pytestmark = [pytest.mark.gpg, pytest.mark.rpmbuild, pytest.mark.createrepo]
CHROOT = "fedora-41-x86_64"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return build_packages(tmp_path_factory.mktemp("rpms"))


def signer(conf: Config, owner: str = "jdoe", name: str = "p") -> ProjectSigner:
    found = sign.signer(conf, owner, name)
    assert found
    return found


def gpg(conf: Config) -> GpgBackend:
    found = sign.backend(conf)
    assert isinstance(found, GpgBackend)
    return found


def published(conf: Config, rpms: list[Path]) -> Path:
    repo = conf.destdir / "jdoe/p" / CHROOT
    add(repo, "00000001-hello", rpms)
    publish(repo, policy=policy(conf, repo))
    return repo


def key_of(repo: Path) -> str:
    """The key with which everything in the repository is signed, metadata too."""
    found = [signing_keys(path) for path in repo.glob("*/*.rpm")]
    text = (repo / "repodata/repomd.xml.asc").read_bytes()
    found.append(openpgp.signers(openpgp.dearmor(text)))
    assert all(one == found[0] for one in found), found
    (key,) = found[0]
    return key


def consistent(repo: Path) -> bool:
    """The metadata has the checksums of the files that are there."""
    files = [repo / name for name in listed(repo)]
    sums = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return bool(files) and sums == checksums(repo)


def left_in(repo: Path) -> list[str]:
    """Private names, but for the repository's own directory of states."""
    return [path.name for path in repo.glob(".*") if path.name != ".repo"]


def checksums(repo: Path) -> set[str]:
    tag = "{http://linux.duke.edu/metadata/common}checksum"
    return {node.text or "" for node in primary(repo).iter(tag)}


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
    monkeypatch.setattr(sign, "_PAUSES", ())
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse battery staple\n")
    conf = config(tmp_path, passphrase_file=str(secret))
    repo = published(conf, packages["hello"])
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
