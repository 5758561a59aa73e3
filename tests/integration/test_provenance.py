"""What lies beside a build's packages, and the same build again, with the real daemon and tools."""

import gzip
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from backend.rpmfile import is_signed
from tests.frontend.distgit import DistGit
from tests.frontend.server import recorded
from tests.integration.farm import SPEC, Farm, make_srpm, running

pytestmark = [
    pytest.mark.redis,
    pytest.mark.rpmbuild,
    pytest.mark.createrepo,
    pytest.mark.gpg,
]

#: Appended to %install, which comes after it in the spec.
NOISE = "%define __os_install_post cp /proc/sys/kernel/random/uuid %{buildroot}/usr/share/noisy/n"


@pytest.fixture(scope="module")
def farm() -> Iterator[Farm]:
    options = {
        "signing__backend": "gpg",
        "signing__key_type": "ed25519",
        # SPDX's validator takes no address of numbers for a URL.
        "backend__results_baseurl": "https://copr.example.org/results",
    }
    with running(**options) as made:
        made.create()
        yield made


@pytest.fixture(scope="module")
def good(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(farm, make_srpm(tmp_path_factory.mktemp("good"), "good"))


def built(farm: Farm, srpm: Path) -> Path:
    """The directory of its results."""
    number = farm.submit(srpm)
    assert farm.wait(number) == "succeeded", farm.stderr
    found = farm.top.glob(f"results/*/*/*/{number:08d}-*")
    (path,) = found
    return path


def rebuild(farm: Farm, *args: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "backend.cli", "-c", str(farm.conf), "rebuild", *args]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


def number(results: Path) -> str:
    return str(int(results.name.partition("-")[0]))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statement(results: Path) -> Any:
    return json.loads((results / "provenance.intoto.json").read_bytes())


def test_the_statement_is_one_of_in_toto_about_the_very_files(good: Path) -> None:
    said = statement(good)
    parsed = json_format.ParseDict(said, Statement([], "", {}).pb)
    Statement.copy_from_pb(parsed).validate()
    predicate = json_format.ParseDict(said["predicate"], provenance_pb2.Provenance())
    for one in predicate.build_definition.resolved_dependencies:
        ResourceDescriptor.copy_from_pb(one).validate()
    subjects = {one["name"]: one["digest"]["sha256"] for one in said["subject"]}
    assert subjects == {path.name: digest(path) for path in good.glob("*.rpm")}
    assert len(subjects) == 2
    assert all(is_signed(good / name) for name in subjects)
    run = said["predicate"]["runDetails"]
    for beside in run["byproducts"]:
        assert beside["digest"]["sha256"] == digest(good / beside["name"])
        assert beside["uri"].endswith(f"/{good.name}/{beside['name']}")
    assert {one["name"] for one in run["byproducts"]} == {
        "sbom.spdx.json", "configs.tar.gz", "installed_pkgs.log.gz"
    }  # fmt: skip
    assert run["metadata"]["startedOn"] <= run["metadata"]["finishedOn"]


def test_the_statement_tells_sources_and_what_was_installed(good: Path) -> None:
    definition = statement(good)["predicate"]["buildDefinition"]
    asked = definition["externalParameters"]
    assert asked["chroot"] == good.parent.name
    assert asked["package"] == "good"
    source, *others = definition["resolvedDependencies"]
    assert source["uri"] == asked["source"]["srpm"]
    published = next((good.parents[1] / "srpm-builds").glob("*/good-1-1.src.rpm"))
    assert source["digest"]["sha256"] == digest(published)
    spec = next(one for one in others if one.get("name") == "good.spec")
    assert len(spec["digest"]["sha256"]) == 64
    listed = gzip.decompress((good / "installed_pkgs.log.gz").read_bytes()).splitlines()
    urls = [one["uri"] for one in others if "uri" in one]
    assert len(urls) == len(listed)
    assert all(url.startswith(("pkg:deb/", "pkg:rpm/")) for url in urls)
    assert [url for url in urls if "/bash@" in url]


def test_the_statement_tells_the_commit_of_a_build_from_git(farm: Farm, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "fromgit.spec").write_text(
        SPEC.format(name="fromgit", tags="BuildArch: noarch", build="")
    )
    (tmp_path / "files").mkdir()
    with recorded(tmp_path / "files") as server:
        commit = DistGit(server).commit("jane/fromgit", tree)
        url = f"{server.model.git}/jane/fromgit"
        asked = {"ownername": "admin", "projectname": "p", "clone_url": url, "committish": "master"}
        build = int(farm.api("POST", "build/create/scm", asked)["id"])
        assert farm.wait(build) == "succeeded", farm.stderr
    (path,) = farm.top.glob(f"results/*/*/*/{build:08d}-*")
    definition = statement(path)["predicate"]["buildDefinition"]
    resolved = definition["resolvedDependencies"]
    found = [one for one in resolved if "gitCommit" in one.get("digest", {})]
    assert found == [{"uri": f"git+{url}@{commit}", "digest": {"gitCommit": commit}}]
    source = definition["externalParameters"]["source"]
    assert (source["scm"], source["committish"]) == (url, "master")
    json_format.ParseDict(statement(path), Statement([], "", {}).pb)


def test_the_statement_is_signed_with_the_projects_key(good: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-autostart"]
    subprocess.run([*gpg, "--import", good.parents[1] / "pubkey.gpg"], check=True)
    said = good / "provenance.intoto.json"
    subprocess.run([*gpg, "--verify", f"{said}.asc", said], check=True, capture_output=True)


def test_the_document_is_one_of_spdx(good: Path) -> None:
    path = good / "sbom.spdx.json"
    assert validate_full_spdx_document(parse_file(str(path))) == []
    found = {one["packageFileName"]: one for one in json.loads(path.read_bytes())["packages"]}
    assert sorted(found) == ["good-1-1.noarch.rpm", "good-1-1.src.rpm", "good.spec"]
    package = found["good-1-1.noarch.rpm"]
    assert package["checksums"][0]["checksumValue"] == digest(good / "good-1-1.noarch.rpm")
    assert (package["licenseDeclared"], package["versionInfo"]) == ("MIT", "1-1")


def test_a_rebuild_gives_the_same_packages(farm: Farm, good: Path, tmp_path: Path) -> None:
    done = rebuild(farm, number(good), "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  identical: good-1-1.noarch.rpm\ninstalled packages: the same\n" in done.stdout
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == ["builder-live.log", "good-1-1.noarch.rpm"]
    assert list((farm.top / "state/rebuild").iterdir()) == []


def test_a_rebuild_names_the_file_that_differs(farm: Farm, tmp_path: Path) -> None:
    results = built(farm, make_srpm(tmp_path, "noisy", NOISE))
    done = rebuild(farm, number(results), results.parent.name, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)["results"]
    (package,) = found["packages"]
    assert package["verdict"] == "content differs"
    assert package["files"] == {"/usr/share/noisy/n": "content"}
    assert found["installed"] == {"added": [], "removed": []}
    told = rebuild(farm, number(results))
    assert "    /usr/share/noisy/n: content\n" in told.stdout
    assert "--keep DIR" in told.stdout


def test_a_rebuild_says_what_was_installed_then(farm: Farm, good: Path) -> None:
    listed = good / "installed_pkgs.log.gz"
    before = listed.read_bytes()
    lines = gzip.decompress(before).splitlines(keepends=True)
    listed.write_bytes(gzip.compress(b"".join([b"gone-1-1.x - - - installed\n", *lines[1:]])))
    try:
        done = rebuild(farm, number(good))
    finally:
        listed.write_bytes(before)
    assert done.returncode == 0, done.stderr
    new = lines[0].split()[0].decode()
    assert f"2 changes since\n  - gone-1-1.x\n  + {new}\n" in done.stdout


def test_what_cannot_be_rebuilt_has_a_code_of_its_own(farm: Farm, good: Path) -> None:
    unknown = rebuild(farm, "999999", "--json")
    assert unknown.returncode == 2
    assert "is not in" in json.loads(unknown.stdout)["error"]
    other = rebuild(farm, number(good), "alien-1-s390x")
    assert other.returncode == 2
    assert f"its results are for {good.parent.name}" in other.stderr
    nowhere = rebuild(farm, number(good), "--keep", str(good / "success"))
    assert nowhere.returncode == 2
    assert "name a directory that can be written" in nowhere.stderr
    (package,) = good.glob("*.noarch.rpm")
    whole = package.read_bytes()
    package.write_bytes(whole[:3000])
    try:
        damaged = rebuild(farm, number(good))
    finally:
        package.write_bytes(whole)
    assert damaged.returncode == 2
    assert f"{package}: truncated" in damaged.stderr


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with running(repository__provenance="no", builder__reproducible="no") as farm:
        farm.create()
        results = built(farm, make_srpm(tmp_path, "good"))
        names = {path.name for path in results.iterdir()}
        assert not {name for name in names if name.endswith(".json")} - {"results.json"}
        done = rebuild(farm, number(results))
        assert "reproducible = no" in done.stdout
