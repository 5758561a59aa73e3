"""The whole way: a farm that signs, and the real dnf that trusts its key and nothing else."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import openpgp
from backend.rpmfile import signing_keys
from tests.conftest import wait_until
from tests.integration.farm import Farm, make_srpm, running
from tests.integration.repositories import references
from tests.integration.signing import Reader, checks, flip

pytestmark = [
    pytest.mark.gpg, pytest.mark.dnf, pytest.mark.rpmbuild, pytest.mark.redis,
    pytest.mark.createrepo,
]  # fmt: skip


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """With one package, whose build looks for the keys."""
    with running(signing__backend="gpg", signing__key_type="ed25519") as farm:
        farm.create("p")
        project = farm.top / "results/admin/p"
        wait_until((project / "pubkey.gpg").is_file, 60, "a key before the first build")
        keys = farm.top / "state/keys"
        nosy = f"if ls {keys} || ls {farm.top}/run; then exit 1; fi"
        srpm = make_srpm(tmp_path_factory.mktemp("srpm"), "hello", build=nosy)
        build = farm.submit(srpm, "p")
        assert farm.wait(build) == "succeeded"
        yield farm


def repository(farm: Farm) -> Path:
    return next((farm.top / "results/admin/p").glob("*/repodata")).parent


def package(farm: Farm) -> Path:
    return next(repository(farm).glob("*-hello/*.noarch.rpm"))


def repo_file(farm: Farm) -> str:
    release = "-".join(repository(farm).name.split("-")[:-1])
    return farm.get(f"{farm.url}/coprs/admin/p/repo/{release}/").decode()


def test_dnf_installs_with_the_repo_file_as_it_is(farm: Farm, tmp_path: Path) -> None:
    text = repo_file(farm)
    assert "\ngpgcheck=1\n" in text
    assert "\nrepo_gpgcheck=1\n" in text
    assert f"\ngpgkey={farm.url}/results/admin/p/pubkey.gpg\n" in text
    reader = Reader(tmp_path, text)
    assert reader.installs("hello"), reader.said


@pytest.mark.parametrize("what", ["package", "primary", "repomd", "signature"])
def test_one_changed_bit_is_refused(farm: Farm, tmp_path: Path, what: str) -> None:
    repodata = repository(farm) / "repodata"
    files = {
        "package": package(farm),
        "primary": repodata.parent / references((repodata / "repomd.xml").read_bytes())["primary"],
        "repomd": repodata / "repomd.xml",
        "signature": repodata / "repomd.xml.asc",
    }
    path = files[what]
    old = flip(path, len(path.read_bytes()) // 2)
    try:
        reader = Reader(tmp_path, repo_file(farm))
        assert not reader.installs("hello")
    finally:
        path.write_bytes(old)


@pytest.mark.parametrize("how", ["copied", "changed", "unsigned"])
def test_metadata_of_somebody_else_help_no_package(farm: Farm, tmp_path: Path, how: str) -> None:
    """Who can write the metadata, but has no key, gets nothing past gpgcheck."""
    fake = tmp_path / "fake"
    fake.mkdir()
    copy = fake / package(farm).name
    copy.write_bytes(package(farm).read_bytes())
    if how == "changed":
        flip(copy, len(copy.read_bytes()) - 20)
    elif how == "unsigned":
        subprocess.run(["rpmsign", "--delsign", str(copy)], check=True, capture_output=True)
    subprocess.run(["createrepo_c", "-q", str(fake)], check=True)
    text = (
        f"[x]\nname=x\nbaseurl=file://{fake}\ngpgcheck=1\nrepo_gpgcheck=0\n"
        f"gpgkey={farm.url}/results/admin/p/pubkey.gpg\n"
    )
    reader = Reader(tmp_path / "reader", text)
    assert reader.installs("hello") == (how == "copied"), reader.said


def test_rpm_and_gpg_say_that_it_is_the_projects_key(farm: Farm, tmp_path: Path) -> None:
    pubkey = farm.top / "results/admin/p/pubkey.gpg"
    assert pubkey.stat().st_mode & 0o777 == 0o644
    (key,) = openpgp.key_ids(openpgp.dearmor(pubkey.read_bytes()))
    for rpm in package(farm).parent.glob("*.rpm"):  # the source package, too
        assert signing_keys(rpm) == {key}
        said = checks(rpm, pubkey, tmp_path / "db")
        assert said.returncode == 0
        assert f"key ID {key[-8:].lower()}: OK" in said.stdout
    repomd = repository(farm) / "repodata/repomd.xml"
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--batch", "--no-autostart", "--homedir", str(home)]
    subprocess.run([*gpg, "--import", str(pubkey)], check=True, capture_output=True)
    verify = [*gpg, "--verify", f"{repomd}.asc", str(repomd)]
    assert subprocess.run(verify, check=False, capture_output=True).returncode == 0


def test_keys_are_closed_and_nobody_stays_behind(farm: Farm) -> None:
    keys = farm.top / "state/keys"
    found = [keys, *keys.rglob("*")]
    assert any(path.suffix == ".key" for path in found)
    assert all(not path.stat().st_mode & 0o077 for path in found)
    wait_until(lambda: not list((farm.top / "run").glob("sign-*")), 60)
    commands = []
    for pid in farm.children():
        with contextlib.suppress(OSError):  # it has just ended
            commands.append(Path(f"/proc/{pid}/cmdline").read_text())
    assert not [text for text in commands if "gpg" in text]
