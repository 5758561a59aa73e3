"""`copr-cli uploadrpm`, the real one: packages that were built elsewhere, published by a daemon."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.layout import PREVIOUS
from backend.locks import exclusive
from backend.rpmfile import is_signed
from tests.conftest import wait_until
from tests.integration.coprcli import CLI
from tests.integration.farm import SPEC, Farm, make_srpm, running
from tests.integration.signing import checks, flip
from tests.integration.test_hosts import TOYS
from tests.integration.twochroots import NAMES

pytestmark = [
    pytest.mark.redis, pytest.mark.rpmbuild, pytest.mark.createrepo, pytest.mark.gpg,
    pytest.mark.coprcli, pytest.mark.dnf,
]  # fmt: skip


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    options = {
        "builder__type": "tests.integration.twochroots:TwoChroots",
        "signing__backend": "gpg",
        "signing__key_type": "ed25519",
    }
    with running(**options) as made:
        made.create()
        project = made.top / "results/admin/p"
        wait_until((project / "pubkey.gpg").is_file, 60, "a key before the first package")
        yield made


def make_rpm(where: Path, name: str, tags: str = "BuildArch: noarch", target: str = "") -> Path:
    """A binary package that nobody has signed."""
    spec = where / f"{name}.spec"
    spec.write_text(SPEC.format(name=name, build="", tags=tags))
    command = ["rpmbuild", "-bb", "--nodeps", "--define", f"_topdir {where}", str(spec)]
    command += ["--target", target] if target else []
    subprocess.run(command, check=True, capture_output=True)
    (made,) = (where / "RPMS").glob(f"*/{name}-1-1.*.rpm")
    return made


def cli(farm: Farm, *arguments: str, code: int = 0) -> str:
    command = [str(CLI), "--config", f"{farm.top}/state/copr-cli.conf", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    said = done.stdout + done.stderr
    assert done.returncode == code, said + farm.stderr
    return said


def number_of(said: str) -> int:
    found = re.search(r"Created builds: (\d+)", said)
    assert found, said
    return int(found[1])


def uploads(farm: Farm) -> list[Path]:
    return list((farm.top / "state/uploads").glob("*"))


def listed(farm: Farm, chroot: str, top: Path) -> set[str]:
    """What dnf finds in the repository."""
    repo = f"x,{farm.url}/results/admin/p/{chroot}/"
    command = [
        "dnf",
        "-q",
        "--refresh",
        f"--repofrompath={repo}",
        "--repo=x",
        f"--setopt=cachedir={top}/cache",
    ]
    command += [f"--setopt=logdir={top}", "--setopt=reposdir=/none", "--releasever=1"]
    command += ["repoquery", "--qf", "%{name}\n"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return set(done.stdout.split())


def test_a_noarch_package_gets_into_all_chroots(farm: Farm, tmp_path: Path) -> None:
    rpm = make_rpm(tmp_path, "tool")
    assert not is_signed(rpm)
    said = cli(farm, "uploadrpm", "p", str(rpm))
    assert "succeeded" in said
    build = number_of(said)
    assert "succeeded" in cli(farm, "status", str(build))
    project = farm.top / "results/admin/p"
    for chroot in NAMES:
        results = project / chroot / f"{build:08d}-tool"
        names = {path.name for path in results.iterdir()}
        assert {rpm.name, "success", "results.json", "backend.log.gz"} <= names
        assert not {"provenance.intoto.json", "sbom.spdx.json", "configs.tar.gz"} & names
        assert json.loads((results / "results.json").read_text())["packages"] == [
            {"name": "tool", "epoch": None, "version": "1", "release": "1", "arch": "noarch"}
        ]
        done = checks(results / rpm.name, project / "pubkey.gpg", tmp_path / "db")
        assert (done.returncode, "Signature, key ID" in done.stdout) == (0, True), done.stdout
        assert "tool" in listed(farm, chroot, tmp_path)
        log = gzip.decompress((results / "backend.log.gz").read_bytes()).decode()
        assert f"{rpm.name} was built elsewhere and uploaded by admin: no statement" in log
    packages = farm.api("GET", f"build/built-packages/{build}")
    assert [item["packages"][0]["name"] for item in packages.values()] == ["tool", "tool"]
    wait_until(lambda: uploads(farm) == [], what="the upload is removed")
    command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "rebuild", str(build)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (done.returncode, "was not built here: its package was uploaded" in done.stderr) == (
        2,
        True,
    ), done.stderr


def test_nowait_and_a_chosen_chroot(farm: Farm, tmp_path: Path) -> None:
    rpm = make_rpm(tmp_path, "native", tags="", target="x86_64")
    said = cli(farm, "uploadrpm", "--nowait", "-r", NAMES[0], "p", str(rpm))
    build = number_of(said)
    assert "succeeded" in cli(farm, "watch-build", str(build))
    items = farm.api("GET", f"build-chroot/list?build_id={build}")["items"]
    assert [item["name"] for item in items] == [NAMES[0]]
    assert "native" in listed(farm, NAMES[0], tmp_path)
    assert "native" not in listed(farm, NAMES[1], tmp_path / "two")
    cli(farm, "delete-build", str(build))
    wait_until(lambda: "native" not in listed(farm, NAMES[0], tmp_path), what="it is deleted")
    wait_until(lambda: uploads(farm) == [], what="the upload is removed")


def test_a_damaged_package_fails_with_that_reason(farm: Farm, tmp_path: Path) -> None:
    rpm = make_rpm(tmp_path, "bad")
    flip(rpm, len(rpm.read_bytes()) - 5)
    build = number_of(cli(farm, "uploadrpm", "--nowait", "p", str(rpm)))
    assert farm.wait(build) == "failed"
    assert "failed" in cli(farm, "watch-build", str(build), code=4)
    failure = farm.api("GET", f"build/{build}")["failure"]
    assert "package bad-1-1.noarch.rpm is refused: damaged: the digest of its content" in failure
    assert "bad" not in listed(farm, NAMES[0], tmp_path)
    wait_until(lambda: uploads(farm) == [], what="the upload is removed")


def test_refusals_in_one_line(farm: Farm, tmp_path: Path) -> None:
    alien = make_rpm(tmp_path, "alien", tags="", target="s390x")
    said = cli(farm, "uploadrpm", "p", str(alien), code=1)
    chroots = ", ".join(NAMES)
    assert f"alien-1-1.s390x.rpm is for s390x, which none of these chroots takes: {chroots}" in said
    srpm = make_srpm(tmp_path, "source")
    said = cli(farm, "uploadrpm", "p", str(srpm), code=1)
    assert "'source-1-1.src.rpm' is no binary package" in said
    disguised = srpm.rename(tmp_path / "source-1-1.noarch.rpm")
    said = cli(farm, "uploadrpm", "p", str(disguised), code=1)
    assert "source-1-1.noarch.rpm is a source RPM: copr-cli build takes it" in said
    garbage = tmp_path / "garbage-1-1.noarch.rpm"
    garbage.write_bytes(b"no package" * 1000)
    said = cli(farm, "uploadrpm", "p", str(garbage), code=1)
    assert "is no RPM: its first bytes are wrong" in said
    assert uploads(farm) == []


def test_somebody_elses_project(farm: Farm, tmp_path: Path) -> None:
    rpm = make_rpm(tmp_path, "mine")
    command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "user", "add", "eve"]
    eve = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout
    (tmp_path / "eve.conf").write_text(eve)
    said = subprocess.run(
        [str(CLI), "--config", f"{tmp_path}/eve.conf", "uploadrpm", "admin/p", str(rpm)],
        check=False, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert said.returncode == 7
    assert "User eve is not allowed to build in the copr: admin/p" in said.stderr
    assert uploads(farm) == []


def test_a_killed_attempt_is_made_again(farm: Farm, tmp_path: Path) -> None:
    rpm = make_rpm(tmp_path, "twice")
    repo = farm.top / "results/admin/p" / NAMES[0]
    wait_until(repo.is_dir, 60, "the project's repository")
    with exclusive(repo / ".repo.lock", who="the test"):
        build = number_of(cli(farm, "uploadrpm", "--nowait", "-r", NAMES[0], "p", str(rpm)))
        results = repo / f"{build:08d}-twice"
        wait_until((results / "results.json").is_file, 60, "an attempt that waits to publish")
        (worker,) = farm.titled(f" {build}-")
        os.kill(worker, signal.SIGKILL)
    assert farm.wait(build) == "succeeded"
    assert list((results / PREVIOUS).glob("1/backend.log*")), "the log of the first attempt"
    assert "twice" in listed(farm, NAMES[0], tmp_path)
    wait_until(lambda: uploads(farm) == [], what="the upload is removed")


def test_no_host_is_waited_for(tmp_path: Path) -> None:
    with running(**TOYS, backend__group0_hosts="toy://u@away") as farm:
        farm.create()
        build = number_of(cli(farm, "uploadrpm", "--nowait", "p", str(make_rpm(tmp_path, "here"))))
        assert farm.wait(build) == "succeeded"
        (info,) = farm.top.glob("results/admin/p/*/*-here/build.info")
        assert "builder_ip=(uploaded)" in info.read_text()
