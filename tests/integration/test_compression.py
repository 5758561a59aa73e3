"""Metadata in each compression: made, changed block by block, and read by others."""

import contextlib
import gzip
import random
import sqlite3
import subprocess
from pathlib import Path

import pytest

from backend import repository, repository_repair
from backend.exceptions import InfrastructureError
from backend.repo import codec, compare
from backend.repository import Manners, Policy, publish
from tests.bench import rpms
from tests.integration.repositories import listed, references

pytestmark = [pytest.mark.createrepo]
SUFFIXES = {"gz": ".gz", "zstd": ".zst"}


def have(name: str) -> bool:
    try:
        codec.named(name)
    except InfrastructureError:
        return False
    return True


def _mark(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not have(name), reason=f"needs a module for {name}")


each = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_mark(name)) for name in ("gz", "zstd")]
)


@each
def test_pieces_follow_each_other_in_one_stream(name: str, tmp_path: Path) -> None:
    made = codec.named(name)
    parts = [random.Random(1).randbytes(1000) * 3, b"", b"end"]
    path = tmp_path / f"x{made.suffix}"
    path.write_bytes(b"".join(made.pack(part) for part in parts))
    assert codec.of_file(path.name).suffix == made.suffix == SUFFIXES[name]
    with made.open(path) as file:
        assert file.read() == b"".join(parts)
    assert made.unpack(made.pack(b"text")) == b"text"
    assert made.pack(b"text") == made.pack(b"text")
    for damaged in (made.pack(b"text")[:-3], b"\0" * 20):
        with pytest.raises((*codec.BROKEN, EOFError)):
            made.unpack(damaged)


@each
def test_builds_come_and_go(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SCAN_BELOW", 0)  # as in a large repository
    policy = Policy(compression=name)
    names = list(rpms.fill(tmp_path, 1, 70))
    publish(tmp_path, policy=Policy())
    publish(tmp_path, policy=policy)  # from one to the other
    (new,) = rpms.fill(tmp_path, 100, 1, success=False)
    publish(tmp_path, build=new, policy=policy)
    publish(tmp_path, without=names[3:5], policy=policy)
    wanted = {*names[:3], *names[5:], new}
    assert repository.listed(tmp_path) == wanted
    assert repository_repair.problems(tmp_path, manners=Manners()) == []
    live = {path.name for path in (tmp_path / "repodata").glob(f"*-primary.xml{SUFFIXES[name]}")}
    assert live


@each
@pytest.mark.dnf
def test_dnf_reads_it(name: str, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    list(rpms.fill(repo, 1, 3))
    publish(repo, policy=Policy(compression=name))
    (new,) = rpms.fill(repo, 10, 1, success=False)
    publish(repo, build=new, policy=Policy(compression=name))
    argv = [
        "dnf", "-q", f"--repofrompath=x,file://{repo}", "--repo=x", "--nogpgcheck",
        "--releasever=1", f"--installroot={tmp_path}/root", f"--setopt=cachedir={tmp_path}/cache",
        "--setopt=reposdir=/dev/null", f"--setopt=logdir={tmp_path}", "repoquery",
        "--list", "tiny10",
    ]  # fmt: skip
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "/usr/share/tiny10/part0-tiny10" in done.stdout.split()


def test_databases_besides_list_the_same(tmp_path: Path) -> None:
    repo, policy = tmp_path / "repo", Policy(sqlite=True)
    list(rpms.fill(repo, 1, 3))
    publish(repo, policy=policy)
    (new,) = rpms.fill(repo, 10, 1, success=False)
    publish(repo, build=new, policy=policy)
    types = references((repo / "repodata/repomd.xml").read_bytes())
    assert set(types) == {f"{k}{s}" for k in ("primary", "filelists", "other") for s in ("", "_db")}
    plain = tmp_path / "primary.sqlite"
    plain.write_bytes(gzip.decompress((repo / types["primary_db"]).read_bytes()))
    with contextlib.closing(sqlite3.connect(plain)) as database:
        found = {row[0] for row in database.execute("SELECT location_href FROM packages")}
    assert found == listed(repo)
    assert len(found) == 4
    assert repository_repair.problems(repo, manners=Manners()) == []
    (last,) = rpms.fill(repo, 20, 1, success=False)
    publish(repo, build=last)
    assert "primary_db" not in references((repo / "repodata/repomd.xml").read_bytes())
