"""Signers of tests, and what they have signed."""

import hashlib
from pathlib import Path

from backend import openpgp, sign
from backend.config import Config
from backend.repository import policy, publish
from backend.rpmfile import signing_keys
from backend.sign import ProjectSigner
from backend.signing.gpg import GpgBackend
from tests.integration.repositories import add, listed, primary

CHROOT = "fedora-41-x86_64"


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


def checksums(repo: Path) -> set[str]:
    tag = "{http://linux.duke.edu/metadata/common}checksum"
    return {node.text or "" for node in primary(repo).iter(tag)}
