"""The backend for obs-sign: a recording stand-in for /bin/sign, and a small keygen host."""

import json
import shlex
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend import openpgp, sign
from backend.config import Config, load
from backend.exceptions import InfrastructureError
from backend.signing import Project
from backend.signing.obs import ObsBackend
from tests.serving import served
from tests.unit.test_openpgp import KEY, SIGNATURE

PROJECT = Project("@group", "p")
ADDRESS = "@group#p@copr.example.org"
#: Knows the key once the file `made` is there; notes every call in `calls`.
PROGRAM = """#!/bin/sh
cd {top} || exit 9
printf '%s\\n' "$*" >> calls
[ -e made ] || {{ echo 'unknown key: {address}' >&2; exit 1; }}
[ ! -e broken ] || {{ echo 'connect: No route to host' >&2; exit 1; }}
case "$*" in
    *" -p") cat key ;;
    *" -d "*) for file; do :; done; cp signature "$file.asc" ;;
esac
"""


class Keygen(BaseHTTPRequestHandler):
    """Makes the key that the program then knows."""

    server: Any

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body), self.headers["Content-Type"]))
        if self.server.status == 200:
            (self.server.top / "made").touch()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def keygen(tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Keygen)
    server.top, server.asked, server.status = tmp_path, [], 200
    with served(server):
        yield server


@pytest.fixture
def config(tmp_path: Path, keygen: Any) -> Config:
    program = tmp_path / "sign"
    program.write_text(PROGRAM.format(top=shlex.quote(str(tmp_path)), address=ADDRESS))
    program.chmod(0o755)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "signature").write_text(SIGNATURE)
    path = tmp_path / "copr-be.conf"
    path.write_text(
        f"[backend]\ndestdir = {tmp_path}/results\n[signing]\nbackend = obs-sign\n"
        f"domain = example.org\nprogram = {program}\n"
        f"keygen_host = 127.0.0.1:{keygen.server_port}\n"
    )
    return load(path)


def calls(config: Config) -> list[str]:
    return (config.path.parent / "calls").read_text().splitlines()


def test_a_missing_key_is_asked_for_once(config: Config, keygen: Any) -> None:
    backend = sign.backend(config)
    assert isinstance(backend, ObsBackend)
    assert backend.ensure(PROJECT)
    assert not backend.ensure(PROJECT)
    body = {"name_real": "@group_p", "name_email": ADDRESS}
    assert keygen.asked == [("/gen_key", body, "application/json")]
    assert openpgp.key_ids(openpgp.dearmor(backend.public(PROJECT)))
    assert calls(config) == [f"-u {ADDRESS} -p"] * 2
    assert not sign.backend(config).ensure(PROJECT)
    assert len(keygen.asked) == 1


def test_signing_calls_the_program_as_todays_copr_does(config: Config) -> None:
    top = config.path.parent
    (top / "made").touch()
    backend = sign.backend(config)
    backend.sign_copies(PROJECT, [top / "a.rpm", top / "b.rpm"])
    (top / "repomd.xml").touch()
    found = backend.sign_file(PROJECT, top / "repomd.xml")
    assert openpgp.signers(found)
    assert calls(config) == [
        f"-u {ADDRESS} -p",
        f"-4 -h sha256 -u {ADDRESS} -r {top}/a.rpm",
        f"-4 -h sha256 -u {ADDRESS} -r {top}/b.rpm",
        f"-h sha256 -u {ADDRESS} -d {top}/repomd.xml",
    ]


def test_the_public_key_is_published(config: Config) -> None:
    (config.path.parent / "made").touch()
    signer = sign.signer(config, "@group", "p:pr:7")
    assert signer
    signer.prepare()
    for name in ("p", "p:pr:7"):
        assert (config.destdir / "@group" / name / "pubkey.gpg").read_text() == KEY


@pytest.mark.parametrize("trouble", ["refused", "no host", "away", "nothing", "no program"])
def test_every_trouble_is_the_farms(
    config: Config, keygen: Any, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign, "_PAUSES", (0.0, 0.0))
    top = config.path.parent
    if trouble == "refused":
        keygen.status = 500
    elif trouble == "no host":
        text = config.path.read_text().partition("keygen_host")[0]
        config.path.write_text(text)
        config = load(config.path)
    elif trouble == "no program":
        (top / "sign").unlink()
    else:
        (top / "made").touch()
        (top / "broken").touch() if trouble == "away" else (top / "key").write_text("")
    signer = sign.signer(config, "@group", "p")
    assert signer
    expected = {
        "refused": "answers 500", "no host": "keygen_host", "away": "No route to host",
        "nothing": "printed no public key", "no program": "cannot",
    }  # fmt: skip
    with pytest.raises(InfrastructureError, match=expected[trouble]):
        signer.prepare()
    if trouble == "refused":
        assert len(keygen.asked) == 3
    assert not (config.destdir / "@group").exists()


def test_what_the_program_does_not_sign_is_noticed(config: Config) -> None:
    top = config.path.parent
    (top / "made").touch()
    signer = sign.signer(config, "@group", "p")
    assert signer
    (top / "a.rpm").write_bytes(b"no package")
    with pytest.raises(InfrastructureError, match="did not get the signature"):
        signer.sign_copies([top / "a.rpm"])
